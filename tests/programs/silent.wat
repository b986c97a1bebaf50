;; Ends well without a byte.
(module
  (memory (export "memory") 1)
  (func (export "_start")))
