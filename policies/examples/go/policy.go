// Package policy keeps N addresses free, grows in one step to cover the pods that wait, and gives
// back what has been idle.
package policy

import (
	"fmt"

	"keep-n-free/onsen"
)

var keepFree = onsen.Integer{
	Key: "KEEP_FREE", Default: 4, Min: 0, Max: 1024,
	Doc: "Addresses kept free for the next pods.",
}

var idleSeconds = onsen.Integer{
	Key: "IDLE_SECONDS", Default: 120, Min: 0, Max: 86400,
	Doc: "How long a block must have been without a pod before it goes back.",
}

const (
	// How long nothing is asked for after EC2 refused something.
	retry = 30 * onsen.Second
	// How long a subnet that had no whole prefix is asked for single addresses instead.
	noPrefix = 1800 * onsen.Second
)

// Policy is what the component exports.
var Policy = onsen.Policy{
	Name:     "keep-n-free",
	Version:  "0.1.0",
	Doc:      "Keeps N addresses free, covers waiting pods in one step, gives back what is idle.",
	Settings: []onsen.Integer{keepFree, idleSeconds},
	Decide:   func(view onsen.View) (onsen.Decision, error) { return decide(view), nil },
}

// What is there and what should be, in addresses.
type pool struct{ free, cooling, coming, waiting, wanted uint64 }

func measure(view onsen.View) pool {
	var p pool
	var assigned uint64
	for _, eni := range view.ENIs() {
		p.coming += uint64(eni.InFlight) * view.AddressesPer(eni.InFlightUnit)
		for _, block := range eni.Blocks() {
			assigned += uint64(block.Assigned)
			if servesPods(eni) {
				p.free += uint64(block.Free)
				p.cooling += uint64(block.Cooling)
			}
		}
	}
	p.waiting = uint64(view.Waiting()) + uint64(view.Demand.Scheduled)
	p.wanted = p.waiting
	if view.Node.Schedulable {
		p.wanted += uint64(keepFree.Read(view.Settings))
	}
	if view.Node.MaxPods > 0 {
		p.wanted = min(p.wanted, less(uint64(view.Node.MaxPods), assigned))
	}
	return p
}

// Addresses to ask for. A pod that waits cannot use what cools.
func (p pool) missing() uint64 {
	usable := p.free + p.coming
	forWaiting := less(min(p.waiting, p.wanted), usable)
	return max(less(p.wanted, usable+p.cooling), forWaiting)
}

// Addresses that could go.
func (p pool) spare() uint64 { return less(p.free+p.cooling+p.coming, p.wanted) }

func servesPods(eni onsen.ENI) bool {
	return eni.State == onsen.Ready && eni.Role != onsen.Trunk && !eni.Excluded
}

func decide(view onsen.View) onsen.Decision {
	var draft onsen.Draft
	if view.Node.Terminating {
		return draft.Finish(onsen.Pack, "The node is shutting down: nothing is changed.")
	}
	pool := measure(view)
	missing := pool.missing()
	if view.Waiting() > 0 {
		draft.Pressure(100)
	} else if missing > 0 {
		draft.Pressure(uint8(min(missing*100/pool.wanted, 99)))
	}
	verdict := "enough"
	if missing > 0 {
		verdict = grow(view, missing, &draft)
	} else if pool.waiting == 0 {
		verdict = shrink(view, pool.spare(), &draft)
	}
	return draft.Finish(onsen.Pack, fmt.Sprintf(
		"%d free, %d cooling, %d coming, %d waiting, %d wanted: %s.",
		pool.free, pool.cooling, pool.coming, pool.waiting, pool.wanted, verdict))
}

// Everything that is missing, in one step: first on ENIs with free slots, then on new ones.
func grow(view onsen.View, missing uint64, draft *onsen.Draft) string {
	if view.Ec2.ThrottledUntil > view.Now {
		draft.WakeAfter(view.Ec2.ThrottledUntil - view.Now)
		return "EC2 throttles"
	}
	if last := view.LastGrowth(); last != nil && last.Code != "" && last.At+retry > view.Now {
		draft.WakeAfter(last.At + retry - view.Now)
		return "waits after a refusal"
	}
	unit := unitToAskFor(view)
	perBlock := view.AddressesPer(unit)
	blocksFor := func(room uint32) uint32 {
		return uint32(min((missing+perBlock-1)/perBlock, uint64(room)))
	}
	calls := view.Ec2.GrowBudget
	for _, eni := range view.ENIs() {
		if missing == 0 || calls == 0 {
			break
		}
		if !eni.CanGrow() {
			continue
		}
		count := blocksFor(eni.FreeSlots)
		draft.Grow(eni, unit, count,
			fmt.Sprintf("%d missing: %s on %s.", missing, onsen.Counted(count, unit), eni.Name()))
		missing = less(missing, uint64(count)*perBlock)
		calls--
	}
	var enis uint32
	for _, eni := range view.ENIs() {
		if eni.Card == 0 {
			enis++
		}
	}
	for missing > 0 && calls > 0 && enis < view.Limits.Enis && view.Limits.SlotsPerEni > 0 {
		blocks := blocksFor(view.Limits.SlotsPerEni)
		draft.Attach(unit, blocks, fmt.Sprintf("%d missing and no slot left: a new ENI with %s.",
			missing, onsen.Counted(blocks, unit)))
		missing = less(missing, uint64(blocks)*perBlock)
		calls--
		enis++
	}
	switch {
	case draft.IsEmpty():
		return "no room to grow now"
	case missing == 0:
		return "grows"
	default:
		return "grows as far as it can"
	}
}

func unitToAskFor(view onsen.View) onsen.Unit {
	for _, subnet := range view.Subnets {
		if subnet.Own {
			if subnet.NoPrefixesAt > 0 && subnet.NoPrefixesAt+noPrefix > view.Now {
				return onsen.Address
			}
			break
		}
	}
	return view.Unit
}

// What has been idle for long enough and is not wanted, newest ENI first.
func shrink(view onsen.View, spare uint64, draft *onsen.Draft) string {
	seconds := idleSeconds.Read(view.Settings)
	idle := uint64(seconds) * onsen.Second
	calls := view.Ec2.ReleaseBudget
	enis := view.ENIs()
	for at := len(enis) - 1; at >= 0; at-- {
		eni := enis[at]
		if !servesPods(eni) || eni.Busy {
			continue
		}
		blocks := eni.Blocks()
		var addresses uint64
		allIdle := true
		for _, block := range blocks {
			addresses += uint64(block.Addresses)
			allIdle = allIdle && block.Releasable && block.IdleSince+idle <= view.Now
		}
		if eni.CanDetach() && eni.IdleSince+idle <= view.Now && allIdle && addresses <= spare && calls > 0 {
			draft.Detach(eni,
				fmt.Sprintf("Idle for %d s and not wanted: %s goes.", seconds, eni.Name()))
			spare -= addresses
			calls--
			continue
		}
		var gone []uint32
		for at := len(blocks) - 1; at >= 0; at-- {
			block := blocks[at]
			if !block.Releasable || uint64(block.Addresses) > spare {
				continue
			}
			if block.IdleSince+idle > view.Now {
				draft.WakeAfter(block.IdleSince + idle - view.Now)
			} else if calls > 0 {
				gone = append(gone, block.Index)
				spare -= uint64(block.Addresses)
			}
		}
		if len(gone) > 0 {
			draft.Release(eni, gone, fmt.Sprintf("Idle for %d s and not wanted: %d of %s.",
				seconds, len(gone), eni.Name()))
			calls--
		}
	}
	if draft.IsEmpty() {
		return "enough"
	}
	return "gives back"
}

// a - b, but not below 0.
func less(a, b uint64) uint64 { return a - min(a, b) }
