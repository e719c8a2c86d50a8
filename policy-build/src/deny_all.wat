;; A stand-in for wasi_snapshot_preview1 that grants nothing, for guests whose language cannot do without it.
;;
;; It has no imports but the guest's own memory, so a component made with it imports no WASI. Everything in it is
;; the same at every call: the clock stands at one second, the random bytes are a fixed sequence, there are no arguments,
;; no variables and no files. What is written to any descriptor is dropped.
;;
;; Answers: 0 success, 8 bad descriptor, 52 not supported.
(module
  (import "env" "memory" (memory 0))
  (global $state (mut i32) (i32.const 1))

  ;; One word, or two, of nothing.
  (func $no_word (param $at i32)
    (i32.store (local.get $at) (i32.const 0)))
  (func (export "args_sizes_get") (param $count i32) (param $bytes i32) (result i32)
    (call $no_word (local.get $count))
    (call $no_word (local.get $bytes))
    (i32.const 0))
  (func (export "environ_sizes_get") (param $count i32) (param $bytes i32) (result i32)
    (call $no_word (local.get $count))
    (call $no_word (local.get $bytes))
    (i32.const 0))
  (func (export "args_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "environ_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "sched_yield") (result i32) (i32.const 0))

  ;; Time stands still; a policy reads it from the snapshot. It does not stand at zero: Go takes that for a broken
  ;; clock and aborts.
  (func (export "clock_time_get") (param i32 i64) (param $at i32) (result i32)
    (i64.store (local.get $at) (i64.const 1_000_000_000))
    (i32.const 0))
  (func (export "clock_res_get") (param i32) (param $at i32) (result i32)
    (i64.store (local.get $at) (i64.const 1))
    (i32.const 0))

  ;; The upper bits of a linear congruential sequence: enough to seed a hash table, and no secret.
  (func (export "random_get") (param $at i32) (param $count i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (local.get $count)))
    (loop $more
      (if (i32.lt_u (local.get $at) (local.get $end))
        (then
          (global.set $state
            (i32.add (i32.mul (global.get $state) (i32.const 1103515245)) (i32.const 12345)))
          (i32.store8 (local.get $at) (i32.shr_u (global.get $state) (i32.const 23)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $more))))
    (i32.const 0))

  ;; Output is dropped, and told as written: the lengths of all pieces are added up.
  (func (export "fd_write") (param i32) (param $piece i32) (param $count i32) (param $told i32) (result i32)
    (local $sum i32)
    (loop $more
      (if (local.get $count)
        (then
          (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $piece))))
          (local.set $piece (i32.add (local.get $piece) (i32.const 8)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $more))))
    (i32.store (local.get $told) (local.get $sum))
    (i32.const 0))

  ;; A guest that ends itself traps.
  (func (export "proc_exit") (param i32) (unreachable))
  (func (export "proc_raise") (param i32) (result i32) (unreachable))
  (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32) (i32.const 52))

  ;; No descriptor is good, not even the first three.
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_close") (param i32) (result i32) (i32.const 8))
  (func (export "fd_datasync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_renumber") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_sync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_tell") (param i32 i32) (result i32) (i32.const 8))
  (func (export "path_create_directory") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_remove_directory") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_unlink_file") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_accept") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_shutdown") (param i32 i32) (result i32) (i32.const 8))
)
