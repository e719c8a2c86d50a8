package onsen

import (
	"strconv"

	contract "keep-n-free/onsen/internal/onsen_policy_types"
)

// The host reads so many actions of one decision.
const maxActions = 64

// Draft collects a decision. Never more actions than the contract allows; the earliest wish to be
// asked again wins; the highest pressure counts.
type Draft struct{ decision Decision }

// Grow asks for more blocks on an ENI.
func (d *Draft) Grow(eni ENI, unit Unit, count uint32, reason string) {
	d.push(contract.MakeRequestGrow(contract.Grow{Eni: eni.Index, Unit: unit, Count: count}), reason)
}

// Attach asks for a new ENI on network card 0, in the node's own subnet.
func (d *Draft) Attach(unit Unit, blocks uint32, reason string) {
	attach := contract.AttachEni{Subnet: None[uint32](), Unit: unit, Blocks: blocks}
	d.push(contract.MakeRequestAttachEni(attach), reason)
}

// Release gives blocks back.
func (d *Draft) Release(eni ENI, blocks []uint32, reason string) {
	d.push(contract.MakeRequestRelease(contract.Release{Eni: eni.Index, Blocks: blocks}), reason)
}

// Detach gives an ENI back.
func (d *Draft) Detach(eni ENI, reason string) {
	d.push(contract.MakeRequestDetachEni(eni.Index), reason)
}

func (d *Draft) push(request contract.Request, reason string) {
	if len(d.decision.Actions) < maxActions {
		d.decision.Actions = append(d.decision.Actions, Action{Request: request, Reason: reason})
	}
}

// IsEmpty says whether nothing has been asked for yet.
func (d *Draft) IsEmpty() bool { return len(d.decision.Actions) == 0 }

// WakeAfter asks to be called again after so many milliseconds.
func (d *Draft) WakeAfter(wait uint64) {
	if d.decision.WakeAfter.IsSome() {
		wait = min(wait, d.decision.WakeAfter.Some())
	}
	d.decision.WakeAfter = Some(wait)
}

// Remember is what the next snapshot shall carry.
func (d *Draft) Remember(memo []byte) { d.decision.Memo = memo }

// Pressure tells how close the node is to failing a pod, 0 to 100.
func (d *Draft) Pressure(pressure uint8) {
	d.decision.Pressure = max(d.decision.Pressure, min(pressure, 100))
}

// Finish is the decision.
func (d *Draft) Finish(placement uint8, reason string) Decision {
	d.decision.Placement = placement
	d.decision.Reason = reason
	return d.decision
}

// Counted writes "1 address" or "3 prefixes".
func Counted(count uint32, unit Unit) string {
	word := "address"
	if unit == Prefix {
		word = "prefix"
	}
	if count != 1 {
		word += "es"
	}
	return strconv.FormatUint(uint64(count), 10) + " " + word
}
