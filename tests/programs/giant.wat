;; Begins with 512 MiB, more than the usual limit allows.
(module
  (memory (export "memory") 8192)
  (func (export "_start")))
