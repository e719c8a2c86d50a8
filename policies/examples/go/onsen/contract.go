// Package onsen dresses up the contract for people: a view of the snapshot, a draft of the
// decision, settings with ranges, and snapshots for tests.
package onsen

import (
	contract "keep-n-free/onsen/internal/onsen_policy_types"
	"keep-n-free/onsen/internal/wit/types"
)

// The contract's types, documented in wit/policy.wit.
type (
	Snapshot = contract.Snapshot
	Decision = contract.Decision
	Action   = contract.Action
	Setting  = contract.Setting
	Problem  = contract.Problem
	Outcome  = contract.Outcome
	Subnet   = contract.Subnet
	Unit     = contract.Unit
	Role     = contract.Role
	State    = contract.EniState
	Keep     = contract.KeepReason
)

// Cases of the contract's enums.
const (
	Address = contract.UnitAddress
	Prefix  = contract.UnitPrefix

	Primary   = contract.RolePrimary
	Secondary = contract.RoleSecondary
	Trunk     = contract.RoleTrunk
	EFA       = contract.RoleEfa

	Attaching = contract.EniStateAttaching
	Ready     = contract.EniStateReady
	Detaching = contract.EniStateDetaching

	OperationAttachENI = contract.OperationAttachEni
	OperationGrow      = contract.OperationGrow
	OperationRelease   = contract.OperationRelease
	OperationDetachENI = contract.OperationDetachEni

	Pack           = contract.PlacementPack
	Spread         = contract.PlacementSpread
	AddressesFirst = contract.PlacementAddressesFirst
)

// Second is one second in the contract's unit of time.
const Second uint64 = 1000

// Some is an option with a value.
func Some[T any](value T) types.Option[T] { return types.Some(value) }

// None is an option without one.
func None[T any]() types.Option[T] { return types.None[T]() }
