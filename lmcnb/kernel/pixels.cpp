// The augmentation of a training batch in one pass over each image: normalised, coloured, moved, rounded to bfloat16.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

inline uint16_t rounded(float v) {  // to bfloat16: the nearest, ties to even; NaN stays NaN
    uint32_t u;
    memcpy(&u, &v, 4);
    return v == v ? (u + 0x7fff + ((u >> 16) & 1)) >> 16 : 0x7fc0;
}

// Images [C, H, W] with a border of zeros: what a look-up beyond the image finds.
class Planes {
    const int height, width, channels, pitch, plane;
    std::vector<float> raw, inside;  // as given; transformed, [C, H + 3, pitch]
    std::vector<float> weight;       // of a row of the result: of four pixels each, whose first is at corner
    std::vector<int> corner;
    std::vector<uint16_t> row;

  public:
    Planes(int H, int W, int C)
        : height(H), width(W), channels(C), pitch(W + 3), plane((H + 3) * pitch), raw(C * H * W), inside(C * plane),
          weight(4 * W), corner(W), row(C * W) {}

    // inside = colour(normalise(image)); u [3]: brightness, saturation, contrast, from 0 to 1, or null.
    template <typename T> void fill(const T* image, float unit, const float* mean, const float* std, const float* u) {
        const int C = channels, pixels = height * width;
        for (int i = 0; i < C * pixels; i++) raw[i] = image[i] * unit;
        const float bright = u ? u[0] - 0.5f : 0, saturation = u ? u[1] * 2 : 1, contrast = u ? u[2] + 0.5f : 1;
        float middle = 0;  // mean of the normalised image
        for (int c = 0; u && c < C; c++) {
            float sums[16] = {}, sum = 0;
            for (int i = 0; i < pixels / 16 * 16; i += 16)
                for (int k = 0; k < 16; k++) sums[k] += raw[c * pixels + i + k];
            for (int i = pixels / 16 * 16; i < pixels; i++) sum += raw[c * pixels + i];
            for (float each : sums) sum += each;
            middle += (sum / pixels - mean[c]) / std[c] / C;
        }
        const float own = contrast * saturation, grey = contrast * (1 - saturation) / C;
        const float level = contrast * bright + (1 - contrast) * (middle + bright);
        for (int c = 0; c < C; c++)
            for (int y = 0; y < height; y++) {
                float* to = &inside[c * plane + (y + 1) * pitch + 1];
                for (int x = 0; x < width; x++) to[x] = level;
                for (int from = 0; from < C; from++) {
                    const float scale = (grey + (from == c ? own : 0)) / std[from], shift = scale * mean[from];
                    const float* v = &raw[from * pixels + y * width];
                    for (int x = 0; x < width; x++) to[x] += v[x] * scale - shift;
                }
            }
    }

    // out [H, W, C]: bilinear look-ups at the affine map m [2, 3] of the pixels' places, which reach from -1 to 1.
    // edge: what lies outside is the nearest pixel, else zero.
    void move(const float* m, bool edge, uint16_t* out) {
        for (int y = 0; y < height; y++, out += width * channels) {
            const float at = (2 * y + 1) / (float)height - 1, low = edge ? 1 : 0, high = edge ? 0 : 1;
            float *aa = &weight[0], *ab = &weight[width], *ba = &weight[2 * width], *bb = &weight[3 * width];
#pragma GCC ivdep
            for (int x = 0; x < width; x++) {
                const float across = (2 * x + 1) / (float)width - 1;
                float right = ((m[0] * across + m[1] * at + m[2] + 1) * width - 1) / 2 + 1;  // 1: the border
                float down = ((m[3] * across + m[4] * at + m[5] + 1) * height - 1) / 2 + 1;
                right = std::min(width + high, std::max(low, right));  // in this order NaN becomes low
                down = std::min(height + high, std::max(low, down));
                const int i = (int)right, j = (int)down;
                right -= i, down -= j;
                corner[x] = j * pitch + i;
                aa[x] = (1 - down) * (1 - right), ab[x] = (1 - down) * right;
                ba[x] = down * (1 - right), bb[x] = down * right;
            }
            for (int c = 0; c < channels; c++) {
                const float* p = &inside[c * plane];
                uint16_t* to = &row[c * width];
#pragma GCC ivdep
                for (int x = 0; x < width; x++) {
                    const float* q = p + corner[x];
                    to[x] = rounded(aa[x] * q[0] + ab[x] * q[1] + ba[x] * q[pitch] + bb[x] * q[pitch + 1]);
                }
            }
            for (int x = 0; x < width; x++)
                for (int c = 0; c < channels; c++) out[x * channels + c] = row[c * width + x];
        }
    }
};

}  // namespace

// images [N, C, H, W], times unit from 0 to 1; index [B]; mean, std [C]; affine [B, 2, 3]; colour [B, 3], or null: none;
// out bfloat16 [B, H, W, C]. Each call does one of some equal parts of the batch.
#define EXPORT(T, NAME) \
    extern "C" void augment_##NAME(uint16_t* out, const T* images, const int64_t* index, const float* mean, \
                                   const float* std, const float* affine, const float* colour, int part, int parts, \
                                   int B, int H, int W, int C, float unit, int edge) { \
        Planes planes(H, W, C); \
        for (int64_t b = (int64_t)B * part / parts; b < (int64_t)B * (part + 1) / parts; b++) { \
            planes.fill(images + index[b] * C * H * W, unit, mean, std, colour ? colour + b * 3 : nullptr); \
            planes.move(affine + b * 6, edge, out + b * C * H * W); \
        } \
    }

EXPORT(uint8_t, uint8)
EXPORT(float, float32)
