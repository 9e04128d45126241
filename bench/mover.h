// Movers: loops that read and write a given mix of bytes and compute nothing. They are what a kernel can reach at best.
#pragma once

#include <cstdint>
#include <vector>

namespace moeq_bench {

// How many vectors are read for how many written, at the widths of the element types: 2:1 is bf16 to 8 bits.
struct Mix {
    int reads;
    int writes; // 0: the read is all there is
};

// Moves from `source` to `destination` in steps of `mix`; both are aligned to 64 bytes.
using MoverLoop = void (*)(const char* source, char* destination, int64_t steps);

struct Mover {
    const char* isa;    // "avx512", "avx2", "sse2", "generic"
    const char* stores; // "plain", "nontemporal", or "none" where nothing is written
    int vector_bytes;
    MoverLoop loop;
};

// Those that this CPU can run, for a mix among 4:0, 1:1, 2:1, 4:1, 8:1, 1:2, 1:4, 1:8; none for another mix.
std::vector<Mover> movers_of(Mix mix);

} // namespace moeq_bench
