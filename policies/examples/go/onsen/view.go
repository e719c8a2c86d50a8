package onsen

import contract "keep-n-free/onsen/internal/onsen_policy_types"

// View is a snapshot with helpers; the fields of the snapshot are its own.
type View struct{ *Snapshot }

// ENI is one ENI and its place in the snapshot.
type ENI struct {
	contract.Eni
	// Index is its place in the snapshot.
	Index    uint32
	snapshot *Snapshot
}

// Block is one block as a value.
type Block struct {
	// Index is its place in the lists of the snapshot's blocks.
	Index uint32
	Unit  Unit
	// Addresses it holds, held by pods, cooling, and free for a pod now.
	Addresses, Assigned, Cooling, Free uint32
	// CoolingUntil and IdleSince are 0 when nothing cools, or while a pod holds an address of it.
	CoolingUntil, IdleSince uint64
	// Releasable says whether the host would release it now.
	Releasable bool
}

// ENIs in attach order, the primary first.
func (v View) ENIs() []ENI {
	enis := make([]ENI, len(v.Enis))
	for index, eni := range v.Enis {
		enis[index] = ENI{eni, uint32(index), v.Snapshot}
	}
	return enis
}

// Waiting is the number of pods that wait for an address.
func (v View) Waiting() int { return len(v.Demand.Waiting) }

// AddressesPer is the number of addresses in one block of this unit.
func (v View) AddressesPer(unit Unit) uint64 {
	if unit == Address {
		return 1
	}
	return uint64(max(v.Limits.AddressesPerPrefix, 1))
}

// LastGrowth is the newest outcome of a call to get more; nil when there is none.
func (v View) LastGrowth() *Outcome {
	for at := len(v.Ec2.Outcomes) - 1; at >= 0; at-- {
		outcome := &v.Ec2.Outcomes[at]
		if outcome.Operation == OperationGrow || outcome.Operation == OperationAttachENI {
			return outcome
		}
	}
	return nil
}

// Blocks of the ENI, lowest address first. Lists that do not fit together give fewer blocks.
func (e ENI) Blocks() []Block {
	lists := &e.snapshot.Blocks
	known := uint64(min(len(lists.Base), len(lists.Length), len(lists.Assigned), len(lists.Cooling),
		len(lists.CoolingUntil), len(lists.IdleSince), len(lists.Free), len(lists.Releasable)))
	first := min(uint64(e.FirstBlock), known)
	end := min(first+uint64(e.BlockCount), known)
	blocks := make([]Block, 0, end-first)
	for at := first; at < end; at++ {
		unit, addresses := Address, uint32(1)
		if length := lists.Length[at]; length != 32 && length != 128 {
			unit, addresses = Prefix, max(e.snapshot.Limits.AddressesPerPrefix, 1)
		}
		blocks = append(blocks, Block{
			Index: uint32(at), Unit: unit, Addresses: addresses,
			Assigned: lists.Assigned[at], Cooling: lists.Cooling[at], Free: lists.Free[at],
			CoolingUntil: lists.CoolingUntil[at], IdleSince: lists.IdleSince[at],
			Releasable: lists.Releasable[at],
		})
	}
	return blocks
}

// CanGrow says whether more blocks can be asked for on it now.
func (e ENI) CanGrow() bool {
	return e.State == Ready && e.Role != Trunk && e.FreeSlots > 0 && !e.Busy && !e.Excluded
}

// CanDetach says whether the host would let it go.
func (e ENI) CanDetach() bool { return !e.Keep.IsSome() && e.State == Ready }

// Name is its id, or a word for an ENI that has none yet.
func (e ENI) Name() string {
	if e.Id == "" {
		return "a new ENI"
	}
	return e.Id
}
