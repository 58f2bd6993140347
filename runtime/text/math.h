// exp and log without a maths library, the same on every machine: IEEE additions, multiplications and divisions alone.
#ifndef EMOE_RUNTIME_TEXT_MATH_H_
#define EMOE_RUNTIME_TEXT_MATH_H_

namespace emoe::rt {

// Relative error below 4e-16. 0 below -708, infinity above 709, NaN for NaN.
double Exp(double x);

// Natural logarithm of a positive normal number, relative error below 1e-15.
double Log(double x);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_TEXT_MATH_H_
