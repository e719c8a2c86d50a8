package policy

import (
	"testing"

	"keep-n-free/onsen"
)

const now = 1_800_000_000_000

// An m5.large: 3 ENIs of 9 slots. One block for each count: 0 is free and long idle, 1 is a pod's.
func node(enis ...[]uint32) *onsen.Snapshot { return onsen.TestSnapshot(now, 3, 9, enis...) }

func TestAnEmptyNodeGetsWhatIsToBeKeptFreeInOneStep(t *testing.T) {
	snapshot := node(nil)
	snapshot.Settings = []onsen.Setting{{Key: "KEEP_FREE", Value: "5"}}
	decision := decide(onsen.View{Snapshot: snapshot})
	if len(decision.Actions) != 1 {
		t.Fatalf("%+v", decision)
	}
	if grow := decision.Actions[0].Request.Grow(); grow.Eni != 0 || grow.Count != 5 {
		t.Errorf("%+v", grow)
	}
}

func TestWaitingPodsAreCoveredWithANewENIWhenTheFirstIsFull(t *testing.T) {
	snapshot := node([]uint32{1, 1, 1, 1, 1, 1, 1, 1, 1})
	snapshot.Demand.Waiting = []uint64{2000, 1000, 0}
	decision := decide(onsen.View{Snapshot: snapshot})
	if len(decision.Actions) != 1 || decision.Pressure != 100 {
		t.Fatalf("%+v", decision)
	}
	if attach := decision.Actions[0].Request.AttachEni(); attach.Blocks != 7 {
		t.Errorf("3 wait and 4 are kept free, but: %+v", attach)
	}
}

func TestWhatIsIdleGoesBackNewestENIFirst(t *testing.T) {
	snapshot := node([]uint32{1, 0, 0, 0, 0, 0, 0}, []uint32{0, 0})
	decision := decide(onsen.View{Snapshot: snapshot})
	if len(decision.Actions) != 2 {
		t.Fatalf("%+v", decision)
	}
	if eni := decision.Actions[0].Request.DetachEni(); eni != 1 {
		t.Errorf("ENI %d", eni)
	}
	if blocks := decision.Actions[1].Request.Release().Blocks; len(blocks) != 2 || blocks[0] != 6 {
		t.Errorf("%v", blocks)
	}
}

func TestARefusalIsWaitedOut(t *testing.T) {
	snapshot := node(nil)
	snapshot.Ec2.Outcomes = []onsen.Outcome{
		{At: now - 5000, Operation: onsen.OperationGrow, Code: "InsufficientFreeAddressesInSubnet"},
	}
	decision := decide(onsen.View{Snapshot: snapshot})
	if len(decision.Actions) != 0 || decision.WakeAfter.Some() != 25_000 {
		t.Errorf("%+v", decision)
	}
}

func TestANodeThatShutsDownIsLeftAlone(t *testing.T) {
	snapshot := node(nil)
	snapshot.Node.Terminating = true
	if decision := decide(onsen.View{Snapshot: snapshot}); len(decision.Actions) != 0 {
		t.Errorf("%+v", decision)
	}
}

func TestSettingsOutOfRangeAreToldAndReadAsTheDefault(t *testing.T) {
	given := []onsen.Setting{{Key: "KEEP_FREE", Value: "many"}}
	if problems := Policy.Problems(given); len(problems) != 1 {
		t.Errorf("%v", problems)
	}
	if keepFree.Read(given) != 4 {
		t.Error("not the default")
	}
}
