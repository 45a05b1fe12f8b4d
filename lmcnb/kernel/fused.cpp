// Instance norm, ReLU and 2 x 2 average pool in one pass over each image, channels last; float32 inside.
// A layer's memory is read once forwards and once backwards, instead of by each operation; and so for the gradient of a
// gradient. Backwards the gradient of a 3 x 3 convolution's weights follows at once, while the image's gradient is in
// the cache.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

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
    int64_t size() const { return (int64_t)pixels() * channels; }                             // of x
    int64_t pooled() const { return (int64_t)(height / 2) * (width / 2) * channels; }         // of out
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

constexpr int N = 16, V = N / L, STREAMS = L == 16 ? 8 : 2;  // outputs at once; 12 or 24 sums in registers

// Adds to sums [S, 3, N] what a run of pixels gives: S rows of x, each read at three columns, times the outputs' g.
template <int S>
__attribute__((noinline)) void add_taps(const float* x, const int* start, const vf* g, int pixels, float* sums) {
    const float* row[S];
    vf a[S * 3 * V];  // in registers, if every loop over it is unrolled
    for (int s = 0; s < S; s++) row[s] = x + start[s];
#pragma GCC unroll 32
    for (int i = 0; i < S * 3 * V; i++) a[i] = load<false>(sums + i * L);
    int64_t p = 0;
    do {
        asm("" : "+r"(p));  // or g++ keeps x for the next pixel, in the registers that g needs
#pragma GCC unroll 32
        for (int i = 0; i < S * 3 * V; i++) a[i] += row[i / V / 3][p + i / V % 3] * g[i % V];
        g += V;
    } while (++p < pixels);
#pragma GCC unroll 32
    for (int i = 0; i < S * 3 * V; i++) store<false>(sums + i * L, a[i]);
}

// The gradient of a 3 x 3 convolution's weights: for each tap the sum over all pixels of x, moved by it, times g.
// Between rows of pixels stands a zero, and between images a row of them, so that a run of rows is one sum.
class WeightGradient {
    const int height, width, in, out, pitch, rows, plane;
    std::vector<float> planes;  // x: [in, rows + 2, pitch], and two more zeros
    std::vector<vf> panel;      // g, N outputs of some rows that stay in the first cache: [rows, pitch, N]
    std::vector<int> start;     // [in, 3]: where in planes the taps of a row begin

  public:
    const int together;  // images in one sum: small ones would leave too little between reading and writing the sums

    WeightGradient(int H, int W, int in, int out)
        : height(H), width(W), in(in), out(out), pitch(W + 1), rows(group(H, W) * (H + 1) - 1),
          plane(pitch * (rows + 2)), planes((int64_t)in * plane + 2), panel((int64_t)rows * pitch * V), start(3 * in),
          together(group(H, W)) {
        for (int s = 0; s < 3 * in; s++) start[s] = s / 3 * plane + s % 3 * pitch;
    }

    int64_t size() const { return (int64_t)(out + N - 1) / N * N * in * 9; }

    // Adds that of some images, at most ``together``: x [images, H, W, in], g [images, H, W, out];
    // sums [out / N upwards, in, 3, 3, N].
    void add(const float* x, const float* g, int images, float* sums) {
        for (int c = 0; c < in; c++)
            for (int i = 0; i < images * height; i++) {
                float* to = &planes[(int64_t)c * plane + (i + i / height + 1) * pitch + 1];
                for (int j = 0; j < width; j++) to[j] = x[((int64_t)i * width + j) * in + c];
            }
        const int block = together > 1 ? images * height : std::max(1, std::min(height, 256 / width));
        for (int i = 0; i < images * height; i += block)
            for (int o = 0; o < out; o += N) {
                const int some = std::min(block, images * height - i);
                pack(g + (int64_t)i * width * out + o, some, std::min(N, out - o));
                add_rows(&planes[i * pitch], (some + (some - 1) / height) * pitch, sums + (int64_t)o * 9 * in);
            }
    }

  private:
    static int group(int H, int W) { return H * W < 64 ? 256 / (H * W) : 1; }

    void pack(const float* g, int some, int outputs) {
        for (int i = 0; i < some; i++)
            for (int j = 0; j < width; j++, g += out) {
                vf* to = &panel[((int64_t)(i + i / height) * pitch + j) * V];
                if (outputs == N) memcpy(to, g, 4 * N);
                else memcpy(to, g, 4 * outputs);
            }
    }

    void add_rows(const float* x, int pixels, float* sums) {
        int s = 0;
        for (; s + STREAMS <= 3 * in; s += STREAMS)
            add_taps<STREAMS>(x, &start[s], panel.data(), pixels, sums + s * 3 * N);
        for (; s < 3 * in; s++) add_taps<1>(x, &start[s], panel.data(), pixels, sums + s * 3 * N);
    }
};

// All channels of one image: L at once, the last of a width that L does not divide one by one.
template <typename F, typename G> void each(int channels, F wide, G one) {
    int c = 0;
    for (; c + L <= channels; c += L) wide(c);
    for (; c < channels; c++) one(c);
}

template <typename T> void forward(const T* x, T* out, float* mean, float* rstd, const float* weight,
                                   const float* bias, Shape s, float eps) {
    each(s.channels,
         [&](int c) { forward_some<false>(x + c, out + c, mean + c, rstd + c, weight + c, bias + c, s, eps); },
         [&](int c) { forward_some<true>(x + c, out + c, mean + c, rstd + c, weight + c, bias + c, s, eps); });
}

template <typename T> void backward(const T* x, const T* gout, const float* mean, const float* rstd,
                                    const float* weight, const float* bias, T* gx, float* gweight, float* gbias,
                                    Shape s) {
    const auto some = [&](auto kernel, int c) {
        kernel(x + c, gout + c, mean + c, rstd + c, weight + c, bias + c, gx + c, gweight + c, gbias + c, s);
    };
    each(s.channels, [&](int c) { some(backward_some<false, T>, c); }, [&](int c) { some(backward_some<true, T>, c); });
}

template <typename T> void second(const T* x, const T* gout, const T* u, const float* mean, const float* rstd,
                                  const float* weight, const float* bias, const float* pw, const float* pb, T* ggout,
                                  T* gx, float* gweight, Shape s) {
    const auto some = [&](auto kernel, int c) {
        kernel(x + c, gout + c, u + c, mean + c, rstd + c, weight + c, bias + c, pw + c, pb + c, ggout + c, gx + c,
               gweight + c, s);
    };
    each(s.channels, [&](int c) { some(second_some<false, T>, c); }, [&](int c) { some(second_some<true, T>, c); });
}

}  // namespace

// x, u [B, H, W, C]; out [B, H/2, W/2, C]; mean, rstd, gweight, gbias float32 [B, C]; weight, bias, pw, pb float32 [C].
// Each call does one of some equal parts of the images.
#define IMAGES for (int64_t b = (int64_t)B * part / parts; b < (int64_t)B * (part + 1) / parts; b++)
#define EXPORT(T, NAME) \
    extern "C" void forward_##NAME(const T* x, T* out, float* mean, float* rstd, const float* weight, \
                                   const float* bias, int part, int parts, int B, int H, int W, int C, float eps) { \
        const Shape s{H, W, C}; \
        IMAGES forward(x + b * s.size(), out + b * s.pooled(), mean + b * C, rstd + b * C, weight, bias, s, eps); \
    } \
    extern "C" void backward_##NAME(const T* x, const T* gout, const float* mean, const float* rstd, \
                                    const float* weight, const float* bias, T* gx, float* gweight, float* gbias, \
                                    int part, int parts, int B, int H, int W, int C) { \
        const Shape s{H, W, C}; \
        IMAGES backward(x + b * s.size(), gout + b * s.pooled(), mean + b * C, rstd + b * C, weight, bias, \
                        gx + b * s.size(), gweight + b * C, gbias + b * C, s); \
    } \
    extern "C" void second_##NAME(const T* x, const T* gout, const T* u, const float* mean, const float* rstd, \
                                  const float* weight, const float* bias, const float* pw, const float* pb, T* ggout, \
                                  T* gx, float* gweight, int part, int parts, int B, int H, int W, int C) { \
        const Shape s{H, W, C}; \
        IMAGES second(x + b * s.size(), gout + b * s.pooled(), u + b * s.size(), mean + b * C, rstd + b * C, weight, \
                      bias, pw, pb, ggout + b * s.pooled(), gx + b * s.size(), gweight + b * C, s); \
    }

EXPORT(float, float32)
EXPORT(bf16, bf16)

// The gradient of the weights of a 3 x 3 convolution of x [B, H, W, C]: gweight [parts, O / N upwards, C, 3, 3, N]
// begins at zero.
extern "C" void weight_gradient(const float* x, const float* gout, float* gweight, int part, int parts, int B, int H,
                                int W, int C, int O) {
    WeightGradient gradient(H, W, C, O);
    const int64_t last = (int64_t)B * (part + 1) / parts, size = (int64_t)H * W;
    for (int64_t b = (int64_t)B * part / parts; b < last; b += gradient.together)
        gradient.add(x + b * size * C, gout + b * size * O, std::min<int64_t>(gradient.together, last - b),
                     gweight + part * gradient.size());
}

// Both where x is a 3 x 3 convolution of image [B, H, W, in]; where ``keep`` is 0, nothing is written to gx.
extern "C" void backward_convolution(const float* x, const float* gout, const float* mean, const float* rstd,
                                     const float* weight, const float* bias, float* gx, float* gweight, float* gbias,
                                     const float* image, float* gconv, int part, int parts, int B, int H, int W, int C,
                                     int in, int keep) {
    const Shape s{H, W, C};
    WeightGradient gradient(H, W, in, C);
    std::vector<float> aside(keep ? 0 : gradient.together * s.size());
    const int64_t last = (int64_t)B * (part + 1) / parts;
    for (int64_t first = (int64_t)B * part / parts; first < last; first += gradient.together) {
        const int images = std::min<int64_t>(gradient.together, last - first);
        float* g = keep ? gx + first * s.size() : aside.data();
        for (int64_t b = first; b < first + images; b++)
            backward(x + b * s.size(), gout + b * s.pooled(), mean + b * C, rstd + b * C, weight, bias,
                     g + (b - first) * s.size(), gweight + b * C, gbias + b * C, s);
        gradient.add(image + first * H * W * in, g, images, gconv + part * gradient.size());
    }
}
