// Package types holds the contract's options and results for the generated code.
package types

// Unit is the value of a result that holds none.
type Unit struct{}

// Tags of options and results, in the order in which they travel.
const (
	OptionNone uint8 = iota
	OptionSome
)

// Tags of results.
const (
	ResultOk uint8 = iota
	ResultErr
)

// Option is a value or nothing.
type Option[T any] struct {
	value T
	some  bool
}

// Some holds a value.
func Some[T any](value T) Option[T] { return Option[T]{value, true} }

// None holds nothing.
func None[T any]() Option[T] { return Option[T]{} }

// IsSome says whether there is a value.
func (o Option[T]) IsSome() bool { return o.some }

// Tag is how it travels.
func (o Option[T]) Tag() uint8 {
	if o.some {
		return OptionSome
	}
	return OptionNone
}

// Some is the value; without one it panics.
func (o Option[T]) Some() T {
	if !o.some {
		panic("the option holds nothing")
	}
	return o.value
}

// Result is a value or an error.
type Result[T, E any] struct {
	ok     T
	err    E
	failed bool
}

// Ok holds a value.
func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{ok: value} }

// Err holds an error.
func Err[T, E any](err E) Result[T, E] { return Result[T, E]{err: err, failed: true} }

// Tag is how it travels.
func (r Result[T, E]) Tag() uint8 {
	if r.failed {
		return ResultErr
	}
	return ResultOk
}

// Ok is the value; on an error it panics.
func (r Result[T, E]) Ok() T {
	if r.failed {
		panic("the result is an error")
	}
	return r.ok
}

// Err is the error; on a value it panics.
func (r Result[T, E]) Err() E {
	if !r.failed {
		panic("the result is a value")
	}
	return r.err
}
