;; Grows its memory until that fails, then writes to every page, then loops: so a host that only counts what is asked for,
;; or only what is touched, is caught as well. Never ends well.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $grow (br_if $grow (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    (loop $again (br $again))))
