"""The C++ reads and writes its own memory alone: every function of it under the compiler's sanitizers."""
import os
import shlex
import subprocess
from pathlib import Path

import pytest

import lmcnb
from lmcnb.kernel.fused import FLAGS

KERNEL = Path(lmcnb.__file__).parent / "kernel"
# Blocks of exactly the size that is promised, each call in two parts; a NaN anywhere in the results is an error, too.
BLOCK = r"""
#include "%s"
#include <cstdio>
#include <memory>
template <typename T> struct Block {
    std::unique_ptr<T[]> data;
    int64_t size;
    Block(int64_t size) : data(new T[size]), size(size) {
        for (int64_t i = 0; i < size; i++) data[i] = T(i * 37 %% 11) / T(5);
    }
    operator T*() { return data.get(); }
};
"""
FUSED = r"""
int run(int B, int H, int W, int C, int O) {
    const int64_t in = (int64_t)B * H * W * C, out = (int64_t)B * H * W * O;
    const int64_t pooled = (int64_t)B * (H / 2) * (W / 2) * O;
    const int parts = B < 2 ? 1 : 2;
    const int64_t sums = (int64_t)parts * ((O + 15) / 16) * C * 9 * 16;
    Block<float> image(in), x(out), gout(pooled), u(out), weight(O), bias(O), pw(O), pb(O);
    Block<float> y(pooled), mean(B * O), rstd(B * O), gx(out), gw(B * O), gb(B * O), gg(pooled), s1(sums), s2(sums);
    for (int64_t i = 0; i < sums; i++) s1[i] = s2[i] = 0;
    for (int part = 0; part < parts; part++) {
        forward_float32(x, y, mean, rstd, weight, bias, part, parts, B, H, W, O, 1e-5f);
        backward_float32(x, gout, mean, rstd, weight, bias, gx, gw, gb, part, parts, B, H, W, O);
        second_float32(x, gout, u, mean, rstd, weight, bias, pw, pb, gg, gx, gw, part, parts, B, H, W, O);
        weight_gradient(image, x, s1, part, parts, B, H, W, C, O);
        backward_convolution(x, gout, mean, rstd, weight, bias, gx, gw, gb, image, s2, part, parts, B, H, W, O, C,
                             part % 2);
    }
    int bad = 0;
    for (int64_t i = 0; i < sums; i++) bad += !(s1[i] == s1[i]) + !(s2[i] == s2[i]);
    for (int64_t i = 0; i < pooled; i++) bad += !(y[i] == y[i]);
    return bad;
}
int main() {
    int bad = 0;
    for (int B : {1, 3, 9})
        for (int H : {1, 2, 3, 8, 17})
            for (int W : {1, 2, 7, 16})
                for (int C : {1, 3, 16})
                    for (int O : {1, 10, 16, 40}) bad += run(B, H, W, C, O);
    std::printf("%d\n", bad);
}
"""


# Affine maps that look far beyond the image, too, and one of NaN.
PIXELS = r"""
template <typename T> int run(int B, int H, int W, int C, int edge, int coloured,
                              void (*augment)(uint16_t*, const T*, const int64_t*, const float*, const float*,
                                              const float*, const float*, int, int, int, int, int, int, float, int)) {
    Block<T> images(7 * C * H * W);
    Block<float> mean(C), std(C), affine(B * 6), colour(B * 3);
    Block<int64_t> index(B);
    Block<uint16_t> out(B * H * W * C);
    for (int i = 0; i < B; i++) index[i] = i * 5 % 7;
    for (int i = 0; i < B * 6; i++) affine[i] = (i % 7 - 3) * (i % 5 ? 0.4f : 30);
    for (int c = 0; c < C; c++) std[c] += 0.1f;
    if (B > 2) affine[12] = 0 / (affine[0] - affine[0]);
    const int parts = B < 2 ? 1 : 2;
    for (int part = 0; part < parts; part++)
        augment(out, images, index, mean, std, affine, coloured ? (float*)colour : nullptr, part, parts, B, H, W, C, 1,
                edge);
    int bad = 0;
    for (int64_t i = 0; i < out.size; i++) bad += (out[i] & 0x7f80) == 0x7f80;
    return bad;
}
int main() {
    int bad = 0;
    for (int B : {1, 2, 9})
        for (int H : {1, 2, 17})
            for (int W : {1, 3, 16, 33})
                for (int C : {1, 3, 5})
                    for (int k = 0; k < 4; k++) {
                        bad += run<uint8_t>(B, H, W, C, k % 2, k / 2, augment_uint8);
                        bad += run<float>(B, H, W, C, k % 2, k / 2, augment_float32);
                    }
    std::printf("%d\n", bad);
}
"""


@pytest.mark.parametrize(("source", "calls"), [("fused.cpp", FUSED), ("pixels.cpp", PIXELS)])
def test_no_byte_beyond_its_memory(source: str, calls: str, tmp_path: Path):
    driver, program = tmp_path / "driver.cpp", tmp_path / "driver"
    driver.write_text(BLOCK % (KERNEL / source) + calls)
    flags = [flag for flag in FLAGS if flag.startswith(("-std", "-m"))]
    build = [*shlex.split(os.environ.get("CXX", "c++")), *flags, "-O1", "-g", "-fsanitize=address", "-o", str(program),
             str(driver)]
    try:
        made = subprocess.run(build, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no C++ compiler: {error}")
    if made.returncode:
        pytest.skip(f"no compiler with sanitizers: {made.stderr[-300:]}")
    ran = subprocess.run([program], capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout == "0\n", ran.stderr[:3000]
