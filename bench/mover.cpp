#include "mover.h"

#include <atomic>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace moeq_bench {

namespace {

// Takes what a read-only loop has gathered, so that the loop is not optimised away.
std::atomic<uint64_t> sink;

// One loop for each width. The vectors read in a step are OR-ed, so that all of them are needed; the result is stored
// `Writes` times. An attribute cannot depend on a template argument, hence the macro.
#define MOEQ_MOVER(name, attribute, Vector, bytes, zero, load, store, stream, combine, low) \
    template <int Reads, int Writes, bool Stream>                                           \
    attribute void name(const char* source, char* destination, int64_t steps)               \
    {                                                                                       \
        Vector all = zero;                                                                  \
        for (int64_t step = 0; step < steps; ++step) {                                      \
            Vector value = load(source);                                                    \
            _Pragma("GCC unroll 8") for (int i = 1; i < Reads; ++i) value =                 \
                combine(value, load(source + int64_t{i} * bytes));                          \
            _Pragma("GCC unroll 8") for (int i = 0; i < Writes; ++i)                        \
            {                                                                               \
                if (Stream)                                                                 \
                    stream(destination + int64_t{i} * bytes, value);                        \
                else                                                                        \
                    store(destination + int64_t{i} * bytes, value);                         \
            }                                                                               \
            if (Writes == 0)                                                                \
                all = combine(all, value);                                                  \
            source += int64_t{Reads} * bytes;                                               \
            destination += int64_t{Writes} * bytes;                                         \
        }                                                                                   \
        if (Writes == 0)                                                                    \
            sink.fetch_or(low(all), std::memory_order_relaxed);                             \
    }

#if defined(__x86_64__)

#define LOAD_512(p) _mm512_load_si512(p)
#define STORE_512(p, v) _mm512_store_si512(p, v)
#define STREAM_512(p, v) _mm512_stream_si512(reinterpret_cast<__m512i*>(p), v)
#define OR_512(a, b) _mm512_or_si512(a, b)
#define LOW_512(v) static_cast<uint64_t>((v)[0])
MOEQ_MOVER(move_avx512, __attribute__((target("avx512f"))), __m512i, 64, _mm512_setzero_si512(), LOAD_512, STORE_512,
           STREAM_512, OR_512, LOW_512)

#define LOAD_256(p) _mm256_load_si256(reinterpret_cast<const __m256i*>(p))
#define STORE_256(p, v) _mm256_store_si256(reinterpret_cast<__m256i*>(p), v)
#define STREAM_256(p, v) _mm256_stream_si256(reinterpret_cast<__m256i*>(p), v)
#define OR_256(a, b) _mm256_or_si256(a, b)
#define LOW_256(v) static_cast<uint64_t>((v)[0])
MOEQ_MOVER(move_avx2, __attribute__((target("avx2"))), __m256i, 32, _mm256_setzero_si256(), LOAD_256, STORE_256,
           STREAM_256, OR_256, LOW_256)

#define LOAD_128(p) _mm_load_si128(reinterpret_cast<const __m128i*>(p))
#define STORE_128(p, v) _mm_store_si128(reinterpret_cast<__m128i*>(p), v)
#define STREAM_128(p, v) _mm_stream_si128(reinterpret_cast<__m128i*>(p), v)
#define OR_128(a, b) _mm_or_si128(a, b)
#define LOW_128(v) static_cast<uint64_t>((v)[0])
MOEQ_MOVER(move_sse2, , __m128i, 16, _mm_setzero_si128(), LOAD_128, STORE_128, STREAM_128, OR_128, LOW_128)

template <MoverLoop Loop>
void fenced(const char* source, char* destination, int64_t steps)
{
    Loop(source, destination, steps);
    _mm_sfence(); // non-temporal stores count as done when they have left the core
}

template <int Reads, int Writes>
std::vector<Mover> movers()
{
    std::vector<Mover> found;
    const char* plain = Writes == 0 ? "none" : "plain";
    const auto add = [&](const char* isa, int bytes, MoverLoop stored, MoverLoop streamed) {
        found.push_back({isa, plain, bytes, stored});
        if (Writes > 0)
            found.push_back({isa, "nontemporal", bytes, streamed});
    };
    if (__builtin_cpu_supports("avx512f"))
        add("avx512", 64, move_avx512<Reads, Writes, false>, fenced<move_avx512<Reads, Writes, true>>);
    if (__builtin_cpu_supports("avx2"))
        add("avx2", 32, move_avx2<Reads, Writes, false>, fenced<move_avx2<Reads, Writes, true>>);
    add("sse2", 16, move_sse2<Reads, Writes, false>, fenced<move_sse2<Reads, Writes, true>>);
    return found;
}

#else

// What the compiler makes of 16-byte vectors; it knows no non-temporal stores.
using Vector = uint64_t __attribute__((vector_size(16)));
#define LOAD_ANY(p) (*reinterpret_cast<const Vector*>(p))
#define STORE_ANY(p, v) (*reinterpret_cast<Vector*>(p) = (v))
#define OR_ANY(a, b) ((a) | (b))
#define LOW_ANY(v) ((v)[0])
MOEQ_MOVER(move_generic, , Vector, 16, Vector{}, LOAD_ANY, STORE_ANY, STORE_ANY, OR_ANY, LOW_ANY)

template <int Reads, int Writes>
std::vector<Mover> movers()
{
    return {{"generic", Writes == 0 ? "none" : "plain", 16, move_generic<Reads, Writes, false>}};
}

#endif

} // namespace

std::vector<Mover> movers_of(Mix mix)
{
    switch (mix.reads * 10 + mix.writes) {
    case 40:
        return movers<4, 0>();
    case 11:
        return movers<1, 1>();
    case 21:
        return movers<2, 1>();
    case 41:
        return movers<4, 1>();
    case 81:
        return movers<8, 1>();
    case 12:
        return movers<1, 2>();
    case 14:
        return movers<1, 4>();
    case 18:
        return movers<1, 8>();
    default:
        return {};
    }
}

} // namespace moeq_bench
