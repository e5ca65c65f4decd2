// What hls4ml has no layer for, on flat arrays of integers. Every result is exact until the type of the result
// rounds it: halves up, and saturating.

#ifndef MILLSTREAM_LAYERS_H_
#define MILLSTREAM_LAYERS_H_

#include "ap_fixed.h"

namespace millstream {

typedef ap_fixed<16, 16> word;

// x times 2^-shift: the same bits behind another binary point, so it costs nothing.
template <int shift> ap_fixed<16, 16 - shift> below(word x) {
    #pragma HLS INLINE
    ap_fixed<16, 16 - shift> moved;
    moved.range(15, 0) = x.range(15, 0);
    return moved;
}

// y = x * factor + bias, element by element.
template <class x_T, class y_T, typename CONFIG_T>
void scale(x_T x[CONFIG_T::size], y_T y[CONFIG_T::size], typename CONFIG_T::factor_t factor[CONFIG_T::size],
           typename CONFIG_T::bias_t bias[CONFIG_T::size]) {
    for (unsigned i = 0; i < CONFIG_T::size; i++) {
        #pragma HLS PIPELINE II=1
        #pragma HLS UNROLL factor=CONFIG_T::parallel
        y[i] = x[i] * factor[i] + bias[i];
    }
}

// y = a * align[0] + b * align[1], whole powers of two that bring a and b to one binary point.
template <class a_T, class b_T, class y_T, typename CONFIG_T>
void add(a_T a[CONFIG_T::size], b_T b[CONFIG_T::size], y_T y[CONFIG_T::size],
         typename CONFIG_T::align_t align[2]) {
    for (unsigned i = 0; i < CONFIG_T::size; i++) {
        #pragma HLS PIPELINE II=1
        #pragma HLS UNROLL factor=CONFIG_T::parallel
        y[i] = below<CONFIG_T::shift>(a[i]) * align[0] + below<CONFIG_T::shift>(b[i]) * align[1];
    }
}

// y = a * b, element by element.
template <class a_T, class b_T, class y_T, typename CONFIG_T>
void multiply(a_T a[CONFIG_T::size], b_T b[CONFIG_T::size], y_T y[CONFIG_T::size]) {
    for (unsigned i = 0; i < CONFIG_T::size; i++) {
        #pragma HLS PIPELINE II=1
        #pragma HLS UNROLL factor=CONFIG_T::parallel
        y[i] = word(a[i]) * below<CONFIG_T::shift>(b[i]);
    }
}

// y = x weight + bias for each row of x (n_in): what Dense is for one row.
template <class x_T, class y_T, typename CONFIG_T>
void rows(x_T x[CONFIG_T::size / CONFIG_T::n_out * CONFIG_T::n_in], y_T y[CONFIG_T::size],
          typename CONFIG_T::weight_t weight[CONFIG_T::n_in * CONFIG_T::n_out],
          typename CONFIG_T::bias_t bias[CONFIG_T::n_out]) {
    for (unsigned i = 0; i < CONFIG_T::size; i++) {
        #pragma HLS PIPELINE II=1
        #pragma HLS UNROLL factor=CONFIG_T::parallel
        const unsigned row = i / CONFIG_T::n_out, column = i % CONFIG_T::n_out;
        typename CONFIG_T::sums_t sum = bias[column];
        for (unsigned k = 0; k < CONFIG_T::n_in; k++) {
            #pragma HLS UNROLL
            sum += x[row * CONFIG_T::n_in + k] * weight[k * CONFIG_T::n_out + column];
        }
        y[i] = sum;
    }
}

// The matrix products of `blocks` pairs: a (rows, length) by b (length, columns).
template <class a_T, class b_T, class y_T, typename CONFIG_T>
void contract(a_T a[CONFIG_T::blocks * CONFIG_T::rows * CONFIG_T::length],
              b_T b[CONFIG_T::blocks * CONFIG_T::length * CONFIG_T::columns], y_T y[CONFIG_T::size]) {
    for (unsigned i = 0; i < CONFIG_T::size; i++) {
        #pragma HLS PIPELINE II=1
        #pragma HLS UNROLL factor=CONFIG_T::parallel
        const unsigned block = i / (CONFIG_T::rows * CONFIG_T::columns);
        const unsigned row = i / CONFIG_T::columns % CONFIG_T::rows;
        const unsigned column = i % CONFIG_T::columns;
        typename CONFIG_T::sums_t sum = 0;
        for (unsigned k = 0; k < CONFIG_T::length; k++) {
            #pragma HLS UNROLL
            sum += word(a[(block * CONFIG_T::rows + row) * CONFIG_T::length + k]) *
                   below<CONFIG_T::shift>(b[(block * CONFIG_T::length + k) * CONFIG_T::columns + column]);
        }
        y[i] = sum;
    }
}

// y = entry[floor(x * 2^-shift) + half].
template <class x_T, class y_T, typename CONFIG_T>
void table(x_T x[CONFIG_T::size], y_T y[CONFIG_T::size], typename CONFIG_T::entry_t entry[2 * CONFIG_T::half]) {
    for (unsigned i = 0; i < CONFIG_T::size; i++) {
        #pragma HLS PIPELINE II=1
        #pragma HLS UNROLL factor=CONFIG_T::parallel
        const ap_int<16> bits = word(x[i]);
        y[i] = entry[int(bits >> CONFIG_T::shift) + int(CONFIG_T::half)];
    }
}

// entry[e 2^-(shift + 2 level)] 2^(2 - step level), rounded, where level says how many powers of four e reaches:
// 1/e or the root of it, whatever the magnitude of e.
template <typename CONFIG_T> word inverted(typename CONFIG_T::sums_t sum, typename CONFIG_T::entry_t entry[2048]) {
    #pragma HLS INLINE
    const ap_int<64> e = sum;
    unsigned level = 0;
    for (unsigned power = 0; power < CONFIG_T::levels; power++) {
        #pragma HLS UNROLL
        if ((e >> (CONFIG_T::shift + 11 + 2 * power)) > 0) level = power + 1;
    }
    const ap_int<64> narrowed = e >> (CONFIG_T::shift + 2 * level);
    const int bin = narrowed < 0 ? 0 : narrowed > 2047 ? 2047 : narrowed.to_int();
    const ap_int<16> mantissa = word(entry[bin]);
    // Three bits: two that an entry lacks, and one for the half.
    const ap_int<32> doubled = (ap_int<32>(mantissa) << 3) >> (CONFIG_T::step * level);
    const ap_int<32> rounded = (doubled + 1) >> 1;
    return rounded > 32767 ? word(32767) : word(rounded);
}

// The inverse, or the inverse of the root, of x * factor + bias, element by element.
template <class x_T, class y_T, typename CONFIG_T>
void inverse(x_T x[CONFIG_T::size], y_T y[CONFIG_T::size], typename CONFIG_T::factor_t factor[1],
             typename CONFIG_T::bias_t bias[1], typename CONFIG_T::entry_t entry[2048]) {
    for (unsigned i = 0; i < CONFIG_T::size; i++) {
        #pragma HLS PIPELINE II=1
        #pragma HLS UNROLL factor=CONFIG_T::parallel
        const typename CONFIG_T::sums_t sum = x[i] * factor[0] + bias[0];
        y[i] = inverted<CONFIG_T>(sum, entry);
    }
}

// The same of the sum of squares of each row of x.
template <class x_T, class y_T, typename CONFIG_T>
void inverse_norm(x_T x[CONFIG_T::size * CONFIG_T::length], y_T y[CONFIG_T::size],
                  typename CONFIG_T::bias_t bias[1], typename CONFIG_T::entry_t entry[2048]) {
    for (unsigned i = 0; i < CONFIG_T::size; i++) {
        #pragma HLS PIPELINE II=1
        #pragma HLS UNROLL factor=CONFIG_T::parallel
        typename CONFIG_T::sums_t sum = bias[0];
        for (unsigned k = 0; k < CONFIG_T::length; k++) {
            #pragma HLS UNROLL
            sum += word(x[i * CONFIG_T::length + k]) * word(x[i * CONFIG_T::length + k]);
        }
        y[i] = inverted<CONFIG_T>(sum, entry);
    }
}

inline void lay(word *, unsigned) {}

// Lay the sources one after the other from `start` on; the arguments are pairs of an array and its size.
template <class x_T, class... rest_T> void lay(word *all, unsigned start, x_T *x, unsigned size, rest_T... rest) {
    #pragma HLS INLINE
    for (unsigned i = 0; i < size; i++) {
        #pragma HLS UNROLL
        all[start + i] = x[i];
    }
    lay(all, start + size, rest...);
}

// y = all[place], wires only.
template <class y_T, typename CONFIG_T, class... sources_T>
void gather(y_T y[CONFIG_T::size], typename CONFIG_T::place_t place[CONFIG_T::size], sources_T... sources) {
    #pragma HLS INLINE
    word all[CONFIG_T::total];
    #pragma HLS ARRAY_PARTITION variable=all complete
    lay(all, 0, sources...);
    for (unsigned i = 0; i < CONFIG_T::size; i++) {
        #pragma HLS UNROLL
        y[i] = all[place[i].to_uint()];
    }
}

} // namespace millstream

#endif
