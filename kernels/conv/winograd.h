// Convolution 3x3, padding 1 on the CPU by Winograd's F(4x4, 3x3): of stride 1, 36 products per 4x4 outputs, not 144.
//
//   Y = A^T [ sum over c of (G g_c G^T) * (B^T d_c B) ] A
//
// with 6x6 inputs d, 3x3 weights g, 4x4 outputs Y, * elementwise, and
//
//         p²q²   0  -p²-q²   0    1  0           1/p²q²        0           0            1  1  1  1  1  0
//         0   -pq²   -q²     p    1  0            1/P       p/P      p²/P       A^T =  0  p -p  q -q  0
//   B^T = 0    pq²   -q²    -p    1  0       G =  1/P      -p/P      p²/P              0  p² p² q² q² 0
//         0   -p²q   -p²     q    1  0            1/Q       q/Q      q²/Q              0  p³-p³ q³-q³ 1
//         0    p²q   -p²    -q    1  0            1/Q      -q/Q      q²/Q
//         0   p²q²    0   -p²-q²  0  1             0         0         1    P = 2p²(p²-q²), Q = 2q²(q²-p²)
//
// The gradient of the weights is the adjoint of this in g:
//
//   dg_c = G^T [ sum over tiles of (A dY A^T) * (B^T d_c B) ] G
//
// Lavin and Gray 2015, https://arxiv.org/abs/1509.09308, section 4.3, have p = 1, q = 2. Here p = 5/8, q = 3/2, found
// by trying pairs: the error (root mean square) is then twice that of a direct convolution instead of four times.
//
// Of stride 2 (forward only), a line of 9 inputs and its 3 weights fall apart: the five even inputs meet the weights 0
// and 2 as neighbours, F(4, 2) with 5 products instead of 8, and the four odd ones meet weight 1:
//
//         -ef²  -f²   e   1  0                               1/E   e/E          1  1  1  1  0
//          ef²  -f²  -e   1  0                              -1/E   e/E   A^T =  e -e  f -f  0
//   B^T = -e²f  -e²   f   1  0  of (d0, d2, d4, d6, d8)  G = 1/F   f/F          e² e² f² f² 0
//          e²f  -e²  -f   1  0                              -1/F   f/F          e³-e³ f³-f³ 1
//         e²f²   0 -e²-f² 0  1                                0     1    E = 2e(e²-f²), F = 2f(f²-e²)
//
// with e = 1/2 and f = 5/4: 81 products per 4x4 outputs, not 144, and an error as that of a direct convolution.
//
// At each of the 36 points the sum over c is a product of matrices, (tiles, c_in) x (c_in, c_out). A block of tiles
// goes through transform, products, inverse transform and activation while it lies in the cache. An output depends on
// its tile only: not on the number of images, the number of threads or the instruction set.
#pragma once

#include "kernels/conv/conv.h"

struct WinogradLoops;
// Of simd_loops(), for stride 1 or 2; null: none. In bf16 x, y and weights: the arithmetic is float.
template <class T>
const WinogradLoops* winograd_loops(size_t stride = 1);
template <>
const WinogradLoops* winograd_loops<float>(size_t stride);
template <>
const WinogradLoops* winograd_loops<bf16>(size_t stride);
bool winograd_supports(const ConvShape&, size_t stride = 1);  // this shape, if that is its stride, on this machine

// Transforms weights: as they are, or for the gradient of the data, flipped and with c_in and c_out exchanged. The
// shape given is then that of the convolution from dy to dx.
size_t winograd_packed_count(const ConvShape&, const WinogradLoops& = *winograd_loops<float>());
void winograd_pack(const Cpu&, const ConvShape&, const void* weight, bool flipped, float* packed,
                   const WinogradLoops& = *winograd_loops<float>());

// The y of ConvForward; `weight` of the struct is not read. `scratch` has winograd_scratch_count() floats.
size_t winograd_scratch_count(const Cpu&, const ConvShape&, const WinogradLoops& = *winograd_loops<float>());
template <class T>
void winograd_forward(const Cpu&, const ConvForward<T>&, const float* packed, float* scratch,
                      const WinogradLoops& = *winograd_loops<T>());

// The same for few tiles and many weights that change from call to call: `weight` of the struct is transformed panel by
// panel, each just before it is multiplied with all tiles, so that transformed weights never leave the cache.
size_t winograd_streamed_scratch_count(const Cpu&, const ConvShape&, const WinogradLoops& = *winograd_loops<float>());
template <class T>
void winograd_streamed_forward(const Cpu&, const ConvForward<T>&, bool flipped, float* scratch,
                               const WinogradLoops& = *winograd_loops<T>());

size_t winograd_weight_scratch_count(const Cpu&, const ConvShape&, const WinogradLoops& = *winograd_loops<float>());
template <class T>
void winograd_backward_weight(const Cpu&, const ConvBackwardWeight<T>&, float* scratch,
                              const WinogradLoops& = *winograd_loops<T>());
