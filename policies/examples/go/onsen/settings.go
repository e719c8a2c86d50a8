package onsen

import (
	"fmt"
	"strconv"
	"strings"

	contract "keep-n-free/onsen/internal/onsen_policy_types"
)

// Policy is what a component exports.
type Policy struct {
	Name, Version, Doc string
	Settings           []Integer
	// An error is a sentence for people; the host's fallback then decides the round.
	Decide func(View) (Decision, error)
}

// Integer is a setting: a whole number. A value that is no number or lies outside the range reads
// as the default.
type Integer struct {
	Key               string
	Default, Min, Max uint32
	Doc               string
}

// Read gives the value in force.
func (i Integer) Read(given []Setting) uint32 {
	for _, setting := range given {
		if setting.Key != i.Key {
			continue
		}
		if value, ok := number(setting.Value); ok && value >= int64(i.Min) && value <= int64(i.Max) {
			return uint32(value)
		}
		break
	}
	return i.Default
}

// Problems says what is wrong with the settings that the policy reads. Empty text means "not set".
func (p Policy) Problems(given []Setting) []Problem {
	var problems []Problem
	for _, setting := range given {
		for _, spec := range p.Settings {
			if spec.Key != setting.Key || setting.Value == "" {
				continue
			}
			value, ok := number(setting.Value)
			if !ok || value < int64(spec.Min) || value > int64(spec.Max) {
				problems = append(problems, Problem{Key: spec.Key, Message: fmt.Sprintf(
					"%q is not a whole number from %d to %d; %d is used",
					setting.Value, spec.Min, spec.Max, spec.Default)})
			}
		}
	}
	return problems
}

// Metadata is the policy as the host asks for it.
func (p Policy) Metadata() contract.Metadata {
	var specs []contract.SettingSpec
	for _, setting := range p.Settings {
		specs = append(specs, contract.SettingSpec{
			Key: setting.Key, Kind: contract.SettingKindInteger,
			Default: strconv.FormatUint(uint64(setting.Default), 10),
			Min:     Some(int64(setting.Min)), Max: Some(int64(setting.Max)), Doc: setting.Doc,
		})
	}
	return contract.Metadata{Name: p.Name, Version: p.Version, Doc: p.Doc, Settings: specs}
}

func number(text string) (int64, bool) {
	digits := strings.TrimPrefix(text, "+")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	value, err := strconv.ParseInt(digits, 10, 64)
	return value, err == nil
}
