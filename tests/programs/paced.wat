;; The first 64 KiB of stdin, a byte at a time: sleeps as many milliseconds as its first argument says before the first
;; byte, and as its second says before each that follows.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 3)
  (func $number (param $at i32) (result i64) (local $n i64)
    (loop $next
      (if (i32.load8_u (local.get $at)) (then
        (local.set $n (i64.add (i64.mul (local.get $n) (i64.const 10))
          (i64.extend_i32_u (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next))))
    (local.get $n))
  (func $sleep (param $ms i64)
    (if (i64.eqz (local.get $ms)) (then (return)))
    (i32.store (i32.const 208) (i32.const 0))
    (i32.store (i32.const 216) (i32.const 1))
    (i64.store (i32.const 224) (i64.mul (local.get $ms) (i64.const 1000000)))
    (i64.store (i32.const 232) (i64.const 0))
    (i64.store (i32.const 240) (i64.const 0))
    (drop (call $poll (i32.const 200) (i32.const 300) (i32.const 1) (i32.const 400))))
  (func (export "_start") (local $between i64) (local $end i32)
    (drop (call $args (i32.const 1024) (i32.const 8192)))
    (i32.store (i32.const 0) (i32.const 65536))
    (i32.store (i32.const 4) (i32.const 65536))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (local.set $end (i32.add (i32.const 65536) (i32.load (i32.const 8))))
    (local.set $between (call $number (i32.load (i32.const 1032))))
    (call $sleep (call $number (i32.load (i32.const 1028))))
    (i32.store (i32.const 4) (i32.const 1))
    (loop $next
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
      (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
      (if (i32.lt_u (i32.load (i32.const 0)) (local.get $end)) (then
        (call $sleep (local.get $between))
        (br $next))))))
