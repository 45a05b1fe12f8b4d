// Instance norm, ReLU and 2 x 2 average pool in one pass over each image, channels last; float32 inside.
// A layer's memory is read once forwards and once backwards, instead of by each operation; and so for the gradient of a
// gradient.
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

#ifdef __AVX512F__
constexpr int L = 16;  // channels at once
#else
constexpr int L = 8;
#endif
typedef float vf __attribute__((vector_size(4 * L)));
typedef int32_t vi __attribute__((vector_size(4 * L)));
typedef uint32_t vu __attribute__((vector_size(4 * L)));
typedef uint16_t vh __attribute__((vector_size(2 * L)));
typedef uint16_t bf16;

inline vf widened(vf v) { return v; }
inline vf widened(vh h) { return (vf)(__builtin_convertvector(h, vu) << 16); }
inline void narrowed(vf v, vf& out) { out = v; }
inline void narrowed(vf v, vh& out) {  // to the nearest, ties to even; NaN stays NaN
    vu u = (vu)v, rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    vi nan = v != v;
    out = __builtin_convertvector((vu)(((vi)rounded & ~nan) | (0x7fc0 & nan)), vh);
}
template <typename T> struct Vector;
template <> struct Vector<float> { typedef vf type; };
template <> struct Vector<bf16> { typedef vh type; };

// L values; ONE: the first alone, for the last channels of a width that L does not divide.
template <bool ONE, typename T> inline vf load(const T* p) {
    typename Vector<T>::type v = {};
    memcpy(&v, p, ONE ? sizeof *p : sizeof v);
    return widened(v);
}
template <bool ONE, typename T> inline void store(T* p, vf v) {
    typename Vector<T>::type out;
    narrowed(v, out);
    memcpy(p, &out, ONE ? sizeof *p : sizeof out);
}
inline vf positive(vf u, vf v) { return (vf)((vi)v & ~(vi)(u <= 0)); }  // v, or 0 where u <= 0; NaN passes

struct Affine { vf mean, rstd, scale, shift; };
template <bool ONE> inline Affine affine(const float* mean, const float* rstd, const float* weight, const float* bias) {
    Affine a{load<ONE>(mean), load<ONE>(rstd), {}, {}};
    a.scale = a.rstd * load<ONE>(weight);
    a.shift = load<ONE>(bias) - a.mean * a.scale;
    return a;
}

struct Shape {
    int height, width, channels;
    int pixels() const { return height * width; }
    int64_t at(int i, int j) const { return ((int64_t)i * width + j) * channels; }            // in x
    int64_t pooled(int i, int j) const { return ((int64_t)i * (width / 2) + j) * channels; }  // in out
    int64_t corner(int i, int j, int k) const { return at(2 * i + k / 2, 2 * j + k % 2); }    // k of four
    template <typename F> void odd(F f) const {  // the row and column that no pool reads
        for (int i = 0; i < height; i++)
            for (int j = i < height / 2 * 2 ? width / 2 * 2 : 0; j < width; j++) f(at(i, j));
    }
};

// Some channels of one image; every pointer stands at the first of them.
template <bool ONE, typename T> void forward_some(const T* x, T* out, float* mean, float* rstd, const float* weight,
                                                  const float* bias, Shape s, float eps) {
    vf sums[4] = {}, squares[4] = {};  // four chains: shorter sums, and no waiting for the last addition
    const int pixels = s.pixels(), whole = pixels / 4 * 4, C = s.channels;
    for (int p = 0; p < whole; p += 4)
        for (int k = 0; k < 4; k++) sums[k] += load<ONE>(x + (int64_t)(p + k) * C);
    for (int p = whole; p < pixels; p++) sums[0] += load<ONE>(x + (int64_t)p * C);
    vf m = ((sums[0] + sums[1]) + (sums[2] + sums[3])) / (float)pixels, r;
    for (int p = 0; p < whole; p += 4)
        for (int k = 0; k < 4; k++) { vf d = load<ONE>(x + (int64_t)(p + k) * C) - m; squares[k] += d * d; }
    for (int p = whole; p < pixels; p++) { vf d = load<ONE>(x + (int64_t)p * C) - m; squares[0] += d * d; }
    vf variance = ((squares[0] + squares[1]) + (squares[2] + squares[3])) / (float)pixels;
    for (int i = 0; i < L; i++) r[i] = 1 / std::sqrt(variance[i] + eps);
    store<ONE>(mean, m);
    store<ONE>(rstd, r);
    const Affine a = affine<ONE>(mean, rstd, weight, bias);
    for (int i = 0; i < s.height / 2; i++)
        for (int j = 0; j < s.width / 2; j++) {
            vf u[4];
            for (int k = 0; k < 4; k++) u[k] = load<ONE>(x + s.corner(i, j, k)) * a.scale + a.shift;
            for (int k = 0; k < 4; k++) u[k] = positive(u[k], u[k]);
            store<ONE>(out + s.pooled(i, j), ((u[0] + u[1]) + (u[2] + u[3])) * 0.25f);
        }
}

template <bool ONE, typename T> void backward_some(const T* x, const T* gout, const float* mean, const float* rstd,
                                                   const float* weight, const float* bias, T* gx, float* gweight,
                                                   float* gbias, Shape s) {
    const Affine a = affine<ONE>(mean, rstd, weight, bias);
    vf sums[4] = {}, products[4] = {};  // of what passes the ReLU, and of that times the normalised x
    for (int i = 0; i < s.height / 2; i++)
        for (int j = 0; j < s.width / 2; j++) {
            const vf g = load<ONE>(gout + s.pooled(i, j)) * 0.25f;
            for (int k = 0; k < 4; k++) {
                vf v = load<ONE>(x + s.corner(i, j, k)), through = positive(v * a.scale + a.shift, g);
                sums[k] += through;
                products[k] += through * (v - a.mean);
            }
        }
    const vf sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    const vf product = ((products[0] + products[1]) + (products[2] + products[3])) * a.rstd;
    store<ONE>(gbias, sum);
    store<ONE>(gweight, product);
    // dx = scale (through - mean(through) - xhat mean(through xhat)), with xhat = (x - mean) rstd
    const vf slope = a.scale * a.rstd * product / (float)s.pixels();
    const vf level = a.scale * sum / (float)s.pixels() - a.mean * slope;
    for (int i = 0; i < s.height / 2; i++)
        for (int j = 0; j < s.width / 2; j++) {
            const vf g = load<ONE>(gout + s.pooled(i, j)) * 0.25f * a.scale;
            for (int k = 0; k < 4; k++) {
                vf v = load<ONE>(x + s.corner(i, j, k));
                store<ONE>(gx + s.corner(i, j, k), positive(v * a.scale + a.shift, g) - (v * slope + level));
            }
        }
    s.odd([&](int64_t at) { store<ONE>(gx + at, -(load<ONE>(x + at) * slope + level)); });
}

// The derivative of backward: with gx, gweight, gbias as above, of sum(u gx) + pw gweight + pb gbias by gout, x and
// the weight. With k = scale (u - mean(u) - xhat mean(u xhat)) + pw xhat + pb the sum is that of through times k.
template <bool ONE, typename T> void second_some(const T* x, const T* gout, const T* u, const float* mean,
                                                 const float* rstd, const float* weight, const float* bias,
                                                 const float* pw, const float* pb, T* ggout, T* gx, float* gweight,
                                                 Shape s) {
    const Affine a = affine<ONE>(mean, rstd, weight, bias);
    const float each = 1.f / s.pixels();
    vf t{}, tx{}, tu{}, us{}, ux{};  // sums of through, u and their products; x for xhat
    for (int i = 0; i < s.height / 2; i++)
        for (int j = 0; j < s.width / 2; j++) {
            const vf g = load<ONE>(gout + s.pooled(i, j)) * 0.25f;
            for (int k = 0; k < 4; k++) {
                vf v = load<ONE>(x + s.corner(i, j, k)), w = load<ONE>(u + s.corner(i, j, k));
                vf through = positive(v * a.scale + a.shift, g), hat = (v - a.mean) * a.rstd;
                t += through, tx += through * hat, tu += through * w, us += w, ux += w * hat;
            }
        }
    s.odd([&](int64_t at) {
        vf w = load<ONE>(u + at);
        us += w, ux += w * ((load<ONE>(x + at) - a.mean) * a.rstd);
    });
    us *= each, ux *= each;
    const vf along = load<ONE>(pw) - a.scale * ux, across = load<ONE>(pb) - a.scale * us;
    const vf shrink = a.scale * tx * each, spread = tu - us * t - ux * tx;
    store<ONE>(gweight, a.rstd * spread);
    // by xhat: from = through along - shrink u; then through the norm, whose rstd depends on x, too
    const vf level = (along * t * each - shrink * us) * a.rstd;
    const vf slope = (along * tx * each - shrink * ux + a.scale * spread * each) * a.rstd;
    for (int i = 0; i < s.height / 2; i++)
        for (int j = 0; j < s.width / 2; j++) {
            const vf g = load<ONE>(gout + s.pooled(i, j)) * 0.25f;
            vf sum{};
            for (int k = 0; k < 4; k++) {
                vf v = load<ONE>(x + s.corner(i, j, k)), w = load<ONE>(u + s.corner(i, j, k));
                vf y = v * a.scale + a.shift, hat = (v - a.mean) * a.rstd;
                sum += positive(y, a.scale * w + along * hat + across);
                store<ONE>(gx + s.corner(i, j, k),
                           (positive(y, g) * along - shrink * w) * a.rstd - (level + hat * slope));
            }
            store<ONE>(ggout + s.pooled(i, j), sum * 0.25f);
        }
    s.odd([&](int64_t at) {
        vf hat = (load<ONE>(x + at) - a.mean) * a.rstd;
        store<ONE>(gx + at, -(shrink * load<ONE>(u + at) * a.rstd + level + hat * slope));
    });
}

}  // namespace

// x, u [B, H, W, C]; out [B, H/2, W/2, C]; mean, rstd, gweight, gbias float32 [B, C]; weight, bias, pw, pb float32 [C].
#define EACH(FUNCTION, ...) \
    { \
        int c = 0; \
        for (; c + L <= C; c += L) FUNCTION<false>(__VA_ARGS__); \
        for (; c < C; c++) FUNCTION<true>(__VA_ARGS__); \
    }
#define EXPORT(T, NAME) \
    extern "C" void forward_##NAME(const T* x, T* out, float* mean, float* rstd, const float* weight, \
                                   const float* bias, int first, int last, int H, int W, int C, float eps) { \
        for (int64_t b = first, in = (int64_t)H * W * C, po = (int64_t)(H / 2) * (W / 2) * C; b < last; b++) \
            EACH(forward_some, x + b * in + c, out + b * po + c, mean + b * C + c, rstd + b * C + c, weight + c, \
                 bias + c, Shape{H, W, C}, eps) \
    } \
    extern "C" void backward_##NAME(const T* x, const T* gout, const float* mean, const float* rstd, \
                                    const float* weight, const float* bias, T* gx, float* gweight, float* gbias, \
                                    int first, int last, int H, int W, int C) { \
        for (int64_t b = first, in = (int64_t)H * W * C, po = (int64_t)(H / 2) * (W / 2) * C; b < last; b++) \
            EACH(backward_some, x + b * in + c, gout + b * po + c, mean + b * C + c, rstd + b * C + c, weight + c, \
                 bias + c, gx + b * in + c, gweight + b * C + c, gbias + b * C + c, Shape{H, W, C}) \
    } \
    extern "C" void second_##NAME(const T* x, const T* gout, const T* u, const float* mean, const float* rstd, \
                                  const float* weight, const float* bias, const float* pw, const float* pb, T* ggout, \
                                  T* gx, float* gweight, int first, int last, int H, int W, int C) { \
        for (int64_t b = first, in = (int64_t)H * W * C, po = (int64_t)(H / 2) * (W / 2) * C; b < last; b++) \
            EACH(second_some, x + b * in + c, gout + b * po + c, u + b * in + c, mean + b * C + c, rstd + b * C + c, \
                 weight + c, bias + c, pw + c, pb + c, ggout + b * po + c, gx + b * in + c, gweight + b * C + c, \
                 Shape{H, W, C}) \
    }

EXPORT(float, float32)
EXPORT(bf16, bf16)
