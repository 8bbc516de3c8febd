"""LedgerService: read what is asked, ask the promises, write the answer."""

from collections.abc import Iterator

import grpc

from solver.api.v1 import ledger_service_pb2 as pb
from solver.api.v1 import ledger_service_pb2_grpc as rpc
from solver.service.codec.fields import required
from solver.service.codec.ledger import (
    decode_asked,
    decode_gang_filter,
    decode_page_size,
    decode_wish,
    encode_event,
    encode_promise,
)
from solver.service.config import Limits
from solver.service.promises import Page, Promises
from solver.service.status import answering

#: A page ends after so many bytes, long before the 4 MiB that clients take.
PAGE_BYTES = 2**20


class LedgerServicer(rpc.LedgerServiceServicer):
    """Answers LedgerService."""

    def __init__(self, promises: Promises, limits: Limits) -> None:
        self._promises, self._limits = promises, limits

    def Reserve(self, request: pb.ReserveRequest, context: grpc.ServicerContext) -> pb.ReserveResponse:  # noqa: N802
        """Promise the capacity of a plan."""
        with answering(context):
            reserved = self._promises.reserve(decode_wish(request, self._limits))
            return pb.ReserveResponse(promise=encode_promise(reserved.promise), state_version=reserved.state_version)

    def Confirm(self, request: pb.ConfirmRequest, context: grpc.ServicerContext) -> pb.ConfirmResponse:  # noqa: N802
        """Make a promise last."""
        with answering(context):
            promise_id = required(request.promise_id, "promise_id")
            promise = self._promises.confirm(decode_asked(request), promise_id)
            return pb.ConfirmResponse(promise=encode_promise(promise))

    def Release(self, request: pb.ReleaseRequest, context: grpc.ServicerContext) -> pb.ReleaseResponse:  # noqa: N802
        """Give a promise back."""
        with answering(context):
            promise_id = required(request.promise_id, "promise_id")
            promise = self._promises.release(decode_asked(request), promise_id)
            return pb.ReleaseResponse(promise=encode_promise(promise))

    def List(self, request: pb.ListRequest, context: grpc.ServicerContext) -> pb.ListResponse:  # noqa: N802
        """Tell one page of promises."""
        with answering(context):
            cluster = required(request.cluster, "cluster")
            gang = decode_gang_filter(request)
            return _page(self._promises.page(cluster, gang, request.page_token, decode_page_size(request)))

    def Watch(  # noqa: N802
        self, request: pb.WatchRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchResponse]:
        """Tell all promises, then every change until the caller leaves."""
        with answering(context), self._promises.watch(required(request.cluster, "cluster")) as watch:
            watch.when_stuck(context.cancel)
            if not context.add_callback(watch.close):
                return
            for event in watch:
                yield encode_event(event)


def _page(page: Page) -> pb.ListResponse:
    """As much of the page as fits one answer; at least one promise."""
    found: list[pb.Promise] = []
    size = 0
    for promise in page.promises:
        message = encode_promise(promise)
        size += message.ByteSize()
        if found and size > PAGE_BYTES:
            break
        found.append(message)
    more = page.more or len(found) < len(page.promises)
    return pb.ListResponse(promises=found, next_page_token=found[-1].id if more else "")
