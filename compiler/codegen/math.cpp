#include "compiler/codegen/math.h"

namespace emoe {

// Horner's scheme: coefficients from the highest power down.
static Expr polynomial(Expr x, std::initializer_list<double> coefficients) {
  auto it = coefficients.begin();
  Expr sum = constantLike(x, *it);
  for (++it; it != coefficients.end(); ++it) {
    sum = fma(sum, x, constantLike(x, *it));
  }
  return sum;
}

static Expr clamp(Expr x, double low, double high) {  // NaN stays NaN
  x = select(x < low, constantLike(x, low), x);
  return select(x > high, constantLike(x, high), x);
}

// exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; exp(r) by Cephes' expf polynomial. ln 2 is split so
// that n times its first part is exact.
Expr emitExp(Expr x) {
  KernelBuilder &k = *x.k;
  mlir::Type f32 = k.b.getF32Type(), i32 = k.b.getI32Type();
  x = clamp(x, -105.0, 89.0);  // the result is 0 or infinite there
  constexpr double kMagic = 12582912.0;  // 1.5 * 2^23: the sum's low bits are the rounded integer
  Expr shifted = x * 1.44269504088896341 + kMagic;
  Expr n = shifted - kMagic;
  Expr r = fma(n, constantLike(x, -0.693359375), x);
  r = fma(n, constantLike(x, 2.12194440e-4), r);
  Expr p = polynomial(r, {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
                          5.0000001201e-1});
  Expr value = fma(p, r * r, r) + 1.0;
  // 2^n in two factors: n is -152 .. 129, beyond the exponents of one f32. `n` is never converted from a NaN.
  Expr exponent = bits(shifted, i32) - bits(constantLike(x, kMagic), i32);
  Expr half = ((exponent + 256.0) >> 1) - 128.0;
  auto powerOfTwo = [&](Expr e) { return bits((e + 127.0) << 23, f32); };
  return value * powerOfTwo(half) * powerOfTwo(exponent - half);
}

// Cephes' tanhf: an odd polynomial near zero, 1 - 2 / (exp(2 |x|) + 1) elsewhere.
Expr emitTanh(Expr x) {
  Expr z = x * x;
  Expr p = polynomial(z, {-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1,
                          -3.33332819422e-1});
  Expr near = fma(p * z, x, x);
  Expr magnitude = abs(x);
  Expr far = 1.0 - 2.0 / (emitExp(magnitude * 2.0) + 1.0);
  far = select(x < 0.0, 0.0 - far, far);
  return select(magnitude < 0.625, near, far);
}

// The rational approximation that Eigen uses (generic_fast_erf_float): x * P(x^2) / Q(x^2), |x| clamped to 4.
Expr emitErf(Expr x) {
  x = clamp(x, -4.0, 4.0);
  Expr z = x * x;
  Expr p = polynomial(z, {-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
                          -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02});
  Expr q = polynomial(z, {-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
                          -1.42647390514189e-02});
  return x * p / q;
}

Expr emitSigmoid(Expr x) { return 1.0 / (emitExp(0.0 - x) + 1.0); }

// max(x, 0) + ln(1 + y), y = exp(-|x|) in [0, 1]: ln(1 + y) = 2 artanh(s), s = y / (2 + y) <= 1/3, by its power series.
Expr emitSoftplus(Expr x) {
  Expr y = emitExp(0.0 - abs(x));
  Expr s = y / (y + 2.0), z = s * s;
  Expr p = polynomial(z, {2.0 / 17, 2.0 / 15, 2.0 / 13, 2.0 / 11, 2.0 / 9, 2.0 / 7, 2.0 / 5, 2.0 / 3, 2.0});
  return select(x < 0.0, constantLike(x, 0.0), x) + s * p;
}

// x = n * pi/2 + r in double: pi/2 is split so that n times its first part (33 bits) is exact for |n| < 2^20. The
// polynomials are FreeBSD's k_sinf.c and k_cosf.c.
SinCos emitSinCos(Expr x) {
  KernelBuilder &k = *x.k;
  mlir::Type i64 = k.b.getI64Type();
  Expr angle = toF64(x);
  constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52
  Expr shifted = angle * 0.63661977236758134308 + kMagic;
  Expr n = shifted - kMagic;
  Expr r = angle - n * 1.57079632673412561417e+00 - n * 6.07710050650619224932e-11;
  Expr z = r * r;
  Expr sine = r + r * z * polynomial(z, {0.0000027183114939898219064, -0.000198393348360966317347,
                                         0.0083333293858894631756, -0.166666666416265235595});
  Expr cosine = 1.0 + z * polynomial(z, {0.0000243904487962774090654, -0.00138867637746099294692,
                                         0.0416666233237390631894, -0.499999997251031003120});
  Expr quadrant = bits(shifted, i64) & 3.0;
  Expr odd = (quadrant & 1.0) == 1.0;
  Expr s = select(odd, cosine, sine), c = select(odd, sine, cosine);
  s = select(quadrant > 1.0, 0.0 - s, s);
  c = select(((quadrant + 1.0) & 2.0) == 2.0, 0.0 - c, c);
  return {toF32(s), toF32(c)};
}

Expr emitActivation(Activation activation, Expr x) {
  switch (activation) {
  case Activation::Silu:
    return x / (emitExp(0.0 - x) + 1.0);
  case Activation::GeluTanh: {
    // x/2 (1 + tanh u) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3).
    Expr u = x * fma(x * x, constantLike(x, 0.0356774081363001), constantLike(x, 0.797884560802865));
    return x / (emitExp(u * -2.0) + 1.0);
  }
  case Activation::GeluErf:
    return x * 0.5 * (emitErf(x * 0.70710678118654752440) + 1.0);
  case Activation::Relu:
    return select(x < 0.0, constantLike(x, 0.0), x);
  case Activation::Sigmoid:
    return emitSigmoid(x);
  case Activation::Tanh:
    return emitTanh(x);
  case Activation::Relu2: {
    Expr y = select(x < 0.0, constantLike(x, 0.0), x);
    return y * y;
  }
  }
  llvm_unreachable("an activation without a formula");
}

} // namespace emoe
