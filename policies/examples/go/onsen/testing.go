package onsen

import (
	"fmt"

	contract "keep-n-free/onsen/internal/onsen_policy_types"
)

// TestSnapshot is a node for unit tests: so many ENIs of so many slots at most, with single
// addresses. Each list is an ENI; each number in it is a block, 0 free and idle for an hour, 1
// held by a pod. Everything in it may be changed afterwards.
func TestSnapshot(now uint64, maxENIs, slots uint32, enis ...[]uint32) *Snapshot {
	const hour = 3600 * Second
	snapshot := &Snapshot{
		DecisionId: 1, Now: now, Uptime: hour,
		Node: contract.Node{InstanceType: "m5.large", Zone: "eu-west-1a", Schedulable: true},
		Limits: contract.Limits{
			Enis: maxENIs, SlotsPerEni: slots, Prefixes: true, AddressesPerPrefix: 16,
		},
		Subnets: []Subnet{{Id: "subnet-0", Own: true, FreeAddresses: None[uint32]()}},
		Ec2:     contract.Ec2{GrowBudget: 4, ReleaseBudget: 4},
	}
	lists := &snapshot.Blocks
	for index, blocks := range enis {
		eni := contract.Eni{
			Id: fmt.Sprintf("eni-%d", index), Role: Secondary, State: Ready,
			DeviceIndex: uint32(index), Since: now - hour, IdleSince: now - hour, Keep: None[uint8](),
			FreeSlots:  slots - uint32(len(blocks)),
			FirstBlock: uint32(len(lists.Base)), BlockCount: uint32(len(blocks)),
		}
		for at, assigned := range blocks {
			lists.Base = append(lists.Base, uint64(0x0a000000+256*index+at))
			lists.Length = append(lists.Length, 32)
			lists.Assigned = append(lists.Assigned, assigned)
			lists.Cooling = append(lists.Cooling, 0)
			lists.CoolingUntil = append(lists.CoolingUntil, 0)
			lists.Free = append(lists.Free, 1-assigned)
			lists.Releasable = append(lists.Releasable, assigned == 0)
			idle := now - hour
			if assigned > 0 {
				idle = 0
				eni.IdleSince = 0
				eni.Keep = Some(contract.KeepReasonAssigned)
			}
			lists.IdleSince = append(lists.IdleSince, idle)
		}
		if index == 0 {
			eni.Role = Primary
			eni.Keep = Some(contract.KeepReasonPrimary)
		}
		snapshot.Enis = append(snapshot.Enis, eni)
	}
	return snapshot
}
