// Gives the kernels contiguous elements of a row: the source's own memory where it is contiguous, else a copy of a few thousand
// elements on the stack, or of a band of rows where those lie closer together than columns. So strided and transposed sources
// need no hidden full copy.
#pragma once

#include <cstring>

#include "formats/elements.h"
#include "host/encode.h"
#include "host/row_bands.h"

namespace moeq {

constexpr int64_t kSegment = 4096; // elements of the copy; the largest block of a run

class SegmentReader {
public:
    // to_fp16: elements are rounded to fp16 first (MOEQ_PROFILE_BNB_CPU_FP16).
    SegmentReader(const Engine& engine, const Patch& patch, bool to_fp16)
        : patch_(patch), kernels_(engine.kernels), source_type_(float_type(patch.view.dtype)),
          to_fp16_(to_fp16 && source_type_ != kFp16), direct_(patch.view.column_stride == 1 && !to_fp16_),
          banded_(!direct_ && !to_fp16_ && patch.view.row_stride == 1 &&
                  by_row_bands(patch.view, patch.box.rows(), patch.box.columns()))
    {
    }

    FloatType type() const { return to_fp16_ ? kFp16 : static_cast<FloatType>(source_type_); }
    // Whether reads give the source's own memory.
    bool direct() const { return direct_; }
    // How many elements a read may have.
    int64_t limit() const { return direct_ ? INT64_MAX : kSegment; }

    // Elements [column, column + count) of a row; valid until the next read. Those of the last band lie there already.
    const void* read(int64_t expert, int64_t row, int64_t column, int64_t count)
    {
        if (direct_)
            return patch_.at(expert, row, column);
        if (row >= band_begin_ && row < band_end_ && expert == band_expert_ && column == band_column_ &&
            count == band_columns_)
            return band_.data + (row - band_begin_) * band_pitch();
        return copy(expert, row, column, count, 0);
    }

    // Whether rows are better read a band at a time, as they lie closer together than columns.
    bool banded() const { return banded_; }
    // How many columns a band has at most: a few of many rows, or `fold` times as many of fewer rows, fold being 1, 2 or 4.
    int64_t band_columns(int64_t fold = 1) const { return fold * kSegmentBytes / patch_.view.itemsize; }

    // visit(row, rows, column, count) for bands of at most so many columns that make up a part of an expert's rows; read gives
    // their elements meanwhile. Where columns are many, bands below each other come before those beside, so that memory
    // is read in longer stretches.
    template <class Visit>
    void for_each_band(const Box& part, int64_t columns, int64_t fold, Visit visit)
    {
        const int64_t band = kBandRows / fold;
        const auto below = [&](int64_t row, int64_t size, int64_t end) {
            return minimum(end, row + size - (row - patch_.box.row_begin) % size);
        };
        for (int64_t top = part.row_begin; top < part.row_end;) {
            const int64_t bottom = below(top, kAreaRows, part.row_end);
            for (int64_t c = part.column_begin; c < part.column_end; c += columns) {
                const int64_t count = minimum(columns, part.column_end - c);
                for (int64_t row = top; row < bottom;) {
                    const int64_t end = below(row, band, bottom);
                    read_band(part.expert_begin, row, end - row, c, count);
                    visit(row, end - row, c, count);
                    row = end;
                }
            }
            top = bottom;
        }
    }
    // Bytes from row to row of the band.
    int64_t band_pitch() const { return buffer_pitch(band_columns_ * patch_.view.itemsize); }

    // The same, always copied to position `at` of the buffer, so that it may be changed.
    void* copy(int64_t expert, int64_t row, int64_t column, int64_t count, int64_t at)
    {
        const char* from = patch_.at(expert, row, column);
        const int64_t stride = patch_.view.column_stride * patch_.view.itemsize;
        if (to_fp16_)
            round_to_fp16(from, stride, count, at);
        else if (patch_.view.itemsize == 4)
            gather<uint32_t>(from, stride, count, at);
        else
            gather<uint16_t>(from, stride, count, at);
        return buffer_ + at * float_type_bytes(type());
    }
    void* buffer() { return buffer_; }

private:
    static constexpr int64_t kAreaRows = 128; // that are read one soon after the other

    void read_band(int64_t expert, int64_t row, int64_t rows, int64_t column, int64_t count)
    {
        const int64_t size = patch_.view.itemsize;
        band_expert_ = expert;
        band_begin_ = row;
        band_end_ = row + rows;
        band_column_ = column;
        band_columns_ = count;
        const cpu::Transposition area{.rows = count,
                                      .columns = rows,
                                      .source_pitch = patch_.view.column_stride * size,
                                      .destination_pitch = band_pitch()};
        kernels_.transpose[cpu::kCached][size == 4 ? cpu::kFourBytes : cpu::kTwoBytes](patch_.at(expert, row, column),
                                                                                       area, band_.data);
    }

    template <class Word>
    void gather(const char* from, int64_t stride, int64_t count, int64_t at)
    {
        auto* to = reinterpret_cast<Word*>(buffer_) + at;
        if (stride == static_cast<int64_t>(sizeof(Word))) {
            std::memcpy(to, from, static_cast<uint64_t>(count) * sizeof(Word));
            return;
        }
        for (int64_t i = 0; i < count; ++i)
            to[i] = *reinterpret_cast<const Word*>(from + i * stride);
    }
    void round_to_fp16(const char* from, int64_t stride, int64_t count, int64_t at)
    {
        auto* to = reinterpret_cast<uint16_t*>(buffer_) + at;
        for (int64_t i = 0; i < count; ++i)
            to[i] = codec::float_to_fp16(load_element(source_type_, from + i * stride, 0));
    }

    const Patch& patch_;
    const cpu::Kernels& kernels_;
    int32_t source_type_;
    bool to_fp16_;
    bool direct_;
    bool banded_;
    int64_t band_expert_ = 0; // what the band holds; no rows at first
    int64_t band_begin_ = 0, band_end_ = 0;
    int64_t band_column_ = 0, band_columns_ = 0;
    alignas(64) char buffer_[kSegment * 4];
    BandBuffer band_;
};

// Replaces NaN by 0 and Inf by the given magnitude, in a buffer of elements (MOEQ_NONFINITE_SATURATE).
inline void saturate_elements(FloatType type, void* data, int64_t count, float amax)
{
    for (int64_t i = 0; i < count; ++i) {
        const float value = load_element(type, data, i);
        if (codec::magnitude_bits_fp32(value) < codec::kNonfiniteBits)
            continue;
        const float finite = codec::saturate_nonfinite(value, amax);
        if (type == kFp32)
            static_cast<float*>(data)[i] = finite;
        else
            static_cast<uint16_t*>(data)[i] =
                type == kFp16 ? codec::float_to_fp16(finite) : codec::float_to_bf16(finite);
    }
}

// The largest finite magnitude of a run, as bits.
inline uint32_t finite_amax(FloatType type, const void* data, int64_t count)
{
    uint32_t bits = 0;
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t magnitude = codec::finite_or_zero(codec::magnitude_bits_fp32(load_element(type, data, i)));
        bits = magnitude > bits ? magnitude : bits;
    }
    return bits;
}

// Notes every NaN and Inf of a run whose first element has a flat index. Returns whether there was one.
inline bool note_nonfinite(FloatType type, const void* data, int64_t count, int64_t flat_index, bool refuse,
                           Findings& findings)
{
    bool found = false;
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t magnitude = codec::magnitude_bits_fp32(load_element(type, data, i));
        if (magnitude < codec::kNonfiniteBits)
            continue;
        findings.see(magnitude == codec::kNonfiniteBits ? MOEQ_SEEN_INF : MOEQ_SEEN_NAN);
        if (refuse && !found)
            findings.refuse(flat_index + i);
        found = true;
    }
    return found;
}

} // namespace moeq
