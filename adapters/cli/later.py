"""Commands and options that are promised but not built: refused by name, never accepted and ignored."""

import click

COMMANDS = frozenset({"explain", "capacity", "whatif"})
OPTIONS = frozenset({"--allow-evict", "--allow-moves", "--as", "--html", "--ttft"})


class Group(click.Group):
    """A group that refuses later commands in one clear line."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click's lookup, with its own words for what is not built yet."""
        if args and args[0] in COMMANDS:
            raise NotYet(f"huddle {args[0]}")
        return super().resolve_command(ctx, args)


class Command(click.Command):
    """A command that refuses later options in one clear line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Click's parsing, with its own words for what is not built yet."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name in OPTIONS:
                raise NotYet(error.option_name) from error
            raise


class NotYet(click.ClickException):
    """What the user asked for does not exist in this version."""

    exit_code = 2

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not available yet")
