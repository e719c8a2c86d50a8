// Package export_onsen_policy_policy is what the generated component calls: it hands the policy of
// this module on. The generator gives the package its name.
package export_onsen_policy_policy

import (
	"strings"

	policy "keep-n-free"
	"keep-n-free/onsen"
	log "keep-n-free/onsen/internal/onsen_policy_log"
	contract "keep-n-free/onsen/internal/onsen_policy_types"
	"keep-n-free/onsen/internal/wit/types"
)

func init() { onsen.Log = log.Write }

// Describe is part of the contract.
func Describe() contract.Metadata { return policy.Policy.Metadata() }

// Configure is part of the contract.
func Configure(settings []contract.Setting) types.Result[types.Unit, []contract.Problem] {
	if problems := policy.Policy.Problems(settings); len(problems) > 0 {
		return types.Err[types.Unit](problems)
	}
	return types.Ok[types.Unit, []contract.Problem](types.Unit{})
}

// Decide is part of the contract.
func Decide(snapshot contract.Snapshot) types.Result[contract.Decision, string] {
	decision, err := policy.Policy.Decide(onsen.View{Snapshot: &snapshot})
	if err != nil {
		return types.Err[contract.Decision](strings.Clone(err.Error()))
	}
	return types.Ok[contract.Decision, string](decision)
}
