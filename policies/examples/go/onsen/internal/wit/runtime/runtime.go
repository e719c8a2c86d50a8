// Package runtime gives the host memory inside the guest, for what it passes in.
//
// Memory comes from Go's heap and is pinned until the generated code has taken the call's
// arguments over (Unpin), so that the collector neither moves nor frees it meanwhile.
package runtime

import (
	"runtime"
	"unsafe"
)

var arguments runtime.Pinner

// Unpin ends the life of what the host passed in.
func Unpin() { arguments.Unpin() }

// Allocate gives pinned, zeroed memory.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	if size == 0 {
		// Never read; it only has to be aligned and not null.
		return unsafe.Pointer(&nothing)
	}
	// Words of eight bytes: no type of the contract wants a higher alignment. A slice of a type
	// with no pointers in it is not scanned.
	words := make([]uint64, (size+7)/8)
	memory := unsafe.Pointer(unsafe.SliceData(words))
	pinner.Pin(memory)
	return memory
}

var nothing uint64

//go:wasmexport cabi_realloc
func reallocate(old unsafe.Pointer, oldSize, align, newSize uintptr) unsafe.Pointer {
	memory := Allocate(&arguments, newSize, align)
	if old != nil && oldSize > 0 {
		copy(unsafe.Slice((*byte)(memory), newSize), unsafe.Slice((*byte)(old), oldSize))
	}
	return memory
}
