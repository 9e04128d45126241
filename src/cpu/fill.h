// How the kernels of a format are entered into its table, for every type and every kind of stores. Everything here has internal
// linkage, as tiers are compiled for different processors.
#pragma once

#include "cpu/kernels.h"

namespace moeq::cpu {

namespace {

template <class Kernel, ScaleKind kind, FloatType type, Stores stores>
constexpr void fill_decode(TileKernels* table)
{
    table->decode_rows[stores][kind][type] = Kernel::template decode_rows<kind, type, stores>;
    table->decode_columns[stores][kind][type] = Kernel::template decode_columns<kind, type, stores>;
    table->decode_tiles[stores][kind][type] = Kernel::template decode_tiles<kind, type, stores>;
}

template <class Kernel, FloatType type, Stores stores>
constexpr void fill_stores(TileKernels* table)
{
    table->encode[stores][type] = Kernel::template encode<type, stores>;
    table->encode_columns[stores][type] = Kernel::template encode_columns<type, stores>;
    table->encode_tiles[stores][type] = Kernel::template encode_tiles<type, stores>;
    fill_decode<Kernel, kAbsmax, type, stores>(table);
    fill_decode<Kernel, kFactor, type, stores>(table);
}

template <class Kernel, FloatType type, Stores stores>
constexpr void fill_stores(RunKernels* table)
{
    table->encode_blocks[stores][type] = Kernel::template encode_blocks<type, stores>;
    table->decode_blocks[stores][type] = Kernel::template decode_blocks<type, stores>;
}

// Kernel: what the table has, as static members by type and stores (decoding tiles: by kind, type and stores).
template <class Kernel, class Table>
constexpr void fill_kernels(Table* table)
{
    fill_stores<Kernel, kFp32, kCached>(table);
    fill_stores<Kernel, kFp32, kStreamed>(table);
    fill_stores<Kernel, kFp16, kCached>(table);
    fill_stores<Kernel, kFp16, kStreamed>(table);
    fill_stores<Kernel, kBf16, kCached>(table);
    fill_stores<Kernel, kBf16, kStreamed>(table);
}

} // namespace

} // namespace moeq::cpu
