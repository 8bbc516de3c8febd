// A client of the service as others would write one: it sends a small cluster, plans a gang there, and prints where
// its pods go. The packages under api are made from protos/ when it is built.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	huddlev1 "huddle.scheduler/api/v1"
)

const (
	cluster = "from-go"
	base    = "1"
	gib     = int64(1) << 30
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: goclient HOST:PORT")
	}
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

// run puts the snapshot, plans the gang on it, and prints a line for the answer, each pod, and each term.
func run(address string) error {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	held, err := put(ctx, huddlev1.NewClusterServiceClient(connection))
	if err != nil {
		return err
	}
	answer, err := huddlev1.NewPlacementServiceClient(connection).Plan(ctx, &huddlev1.PlanRequest{
		Cluster: &huddlev1.ClusterRef{
			Source:     &huddlev1.ClusterRef_Name{Name: cluster},
			MinVersion: held.GetVersion(),
		},
		Gangs:   []*huddlev1.Gang{gang()},
		Options: &huddlev1.PlanOptions{TimeLimitMs: 10_000},
	})
	if err != nil {
		return err
	}
	for _, plan := range answer.GetPlan().GetGangs() {
		fmt.Printf("gang %s %s\n", plan.GetName(), plan.GetStatus())
		for _, pod := range plan.GetAssignments() {
			fmt.Printf("pod %s %s %s\n", pod.GetPod(), pod.GetRole(), pod.GetNode())
		}
		for _, term := range plan.GetObjective() {
			fmt.Printf("term %s %s %s\n", term.GetTerm(), term.GetValue().GetExact(), term.GetBound().GetExact())
		}
	}
	return nil
}

// put sends the cluster in two messages: its nodes, then what else it has and the word that it is complete.
func put(ctx context.Context, service huddlev1.ClusterServiceClient) (*huddlev1.PutSnapshotResponse, error) {
	stream, err := service.PutSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	messages := []*huddlev1.PutSnapshotRequest{
		{Cluster: cluster, Base: base, Chunk: &huddlev1.SnapshotChunk{Nodes: nodes()}},
		{Last: true, Chunk: &huddlev1.SnapshotChunk{Topologies: []*huddlev1.Topology{{
			Name:   "site",
			Levels: []*huddlev1.Level{{Name: "rack", Label: "rack"}},
		}}}},
	}
	for _, message := range messages {
		if err := stream.Send(message); err != nil {
			// What is wrong is told by the answer.
			break
		}
	}
	return stream.CloseAndRecv()
}

// nodes are four, two in each of two racks, with 8 GPUs each.
func nodes() *huddlev1.NodeColumns {
	everywhere := func(resource string, amount int64) *huddlev1.ResourceColumn {
		return &huddlev1.ResourceColumn{Resource: resource, Amounts: []int64{amount}}
	}
	return &huddlev1.NodeColumns{
		Names: []string{"a0", "a1", "b0", "b1"},
		Allocatable: []*huddlev1.ResourceColumn{
			everywhere("gpu", 8_000), everywhere("cpu", 192_000), everywhere("memory", 2_048*gib), everywhere("pods", 110),
		},
		Labels: []*huddlev1.LabelColumn{{Key: "rack", Values: []string{"a", "b"}, Codes: []int32{1, 1, 2, 2}}},
	}
}

// gang is two prefill and four decode pods of 2 GPUs each, all in one rack.
func gang() *huddlev1.Gang {
	pods := &huddlev1.Resources{GpuMilli: 2_000, CpuMilli: 16_000, MemoryBytes: 128 * gib}
	return &huddlev1.Gang{
		Name: "prod/llama",
		Root: &huddlev1.Group{
			Pack: &huddlev1.Pack{Required: "rack"},
			Roles: []*huddlev1.Role{
				{Name: "prefill", Kind: huddlev1.RoleKind_ROLE_KIND_PREFILL, Replicas: 2, Requests: pods},
				{Name: "decode", Kind: huddlev1.RoleKind_ROLE_KIND_DECODE, Replicas: 4, Requests: pods},
			},
		},
		Flows: []*huddlev1.Flow{{Senders: []string{"prefill"}, Receivers: []string{"decode"}, Bytes: 1_310_720_000}},
	}
}
