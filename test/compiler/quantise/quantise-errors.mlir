// RUN: emoe-opt %s --quantise --verify-diagnostics
// A weight that nothing uses was lost on the way; that is never silent.

// expected-error @+1 {{is used by no op: raising lost what it was for}}
emoe.weight @orphan [64, 32] #emoe.source<"m", 0, f16, [32, 1]>
