// Encoding where every column has a scale over all rows of its expert.
#include "host/segment_reader.h"

namespace moeq {

namespace {

constexpr int64_t kSaturatedStrip = 1024; // of kColumnBand columns, where there is NaN or Inf

class ColumnEncoder {
public:
    ColumnEncoder(const Engine& engine, const EncodedWeight& weight, const Patch& patch, Findings& findings,
                  cpu::Stores stores)
        : geometry_(weight.geometry), weight_(weight), patch_(patch), findings_(findings),
          reader_(engine, patch, weight.geometry.spec.profile == MOEQ_PROFILE_BNB_CPU_FP16), type_(reader_.type()),
          amax_columns_(engine.kernels.amax_columns[type_]),
          encode_columns_(engine.kernels.tiles[geometry_.format->kernels()].encode_columns[stores][type_])
    {
    }

    void run(const Box& box)
    {
        const int64_t strip = reader_.banded() ? reader_.band_columns() : minimum(kColumnBand, reader_.limit());
        for (int64_t e = box.expert_begin; e < box.expert_end; ++e)
            for (int64_t c = box.column_begin; c < box.column_end; c += strip)
                encode_strip(e, c, minimum(strip, box.column_end - c));
    }

private:
    bool refuses() const { return geometry_.spec.nonfinite == MOEQ_NONFINITE_REFUSE; }

    // Stores the statistic of a column, and gives what it is encoded with.
    codec::Multiplier settle(int64_t e, int64_t column, float amax)
    {
        *weight_.scale_at(e, 0, column) = geometry_.statistic(amax);
        return geometry_.format->multiplier(amax, geometry_.spec.profile);
    }

    // A strip of columns of one expert, each with its own scale over all rows.
    void encode_strip(int64_t e, int64_t column, int64_t count)
    {
        // First the bits of each amax, then in their place the multipliers, which are twice as large.
        alignas(64) char memory[static_cast<uint64_t>(kColumnBand) * sizeof(codec::Multiplier)];
        auto* bits = reinterpret_cast<uint32_t*>(memory);
        const auto* multipliers = reinterpret_cast<const codec::Multiplier*>(memory);
        std::memset(memory, 0, static_cast<uint64_t>(count) * sizeof(uint32_t));
        for_each_rectangle(e, column, count, [&](const void* elements, const cpu::Rectangle& area, uint8_t*) {
            amax_columns_(elements, area, bits);
        });
        bool nonfinite = false;
        for (int64_t i = 0; i < count; ++i)
            nonfinite = nonfinite || bits[i] >= codec::kNonfiniteBits;
        if (nonfinite) {
            for (int64_t i = 0; i < count; i += kSaturatedStrip)
                encode_saturated_strip(e, column + i, minimum(kSaturatedStrip, count - i));
            return;
        }
        for (int64_t i = count - 1; i >= 0; --i) {
            float amax;
            std::memcpy(&amax, memory + i * static_cast<int64_t>(sizeof amax), sizeof amax);
            const codec::Multiplier m = settle(e, column + i, amax);
            std::memcpy(memory + i * static_cast<int64_t>(sizeof m), &m, sizeof m);
        }
        for_each_rectangle(e, column, count, [&](const void* elements, const cpu::Rectangle& area, uint8_t* codes) {
            encode_columns_(elements, area, multipliers, codes);
        });
    }

    // visit(elements, their rectangle, codes) for all rows of some columns: at once where the source's own memory is read.
    template <class Visit>
    void for_each_rectangle(int64_t e, int64_t column, int64_t count, Visit visit)
    {
        if (reader_.direct()) {
            const cpu::Rectangle area{.rows = geometry_.rows,
                                      .columns = count,
                                      .element_pitch = patch_.view.row_stride * patch_.view.itemsize,
                                      .code_pitch = weight_.codes_at(e, 1, 0) - weight_.codes_at(e, 0, 0)};
            visit(patch_.at(e, 0, column), area, weight_.codes_at(e, 0, column));
            return;
        }
        if (reader_.banded()) {
            const Box strip{e, e + 1, 0, geometry_.rows, column, column + count};
            reader_.for_each_band(strip, count, 1, [&](int64_t row, int64_t rows, int64_t, int64_t) {
                const void* elements = reader_.read(e, row, column, count);
                const cpu::Rectangle area{.rows = rows,
                                          .columns = count,
                                          .element_pitch = reader_.band_pitch(),
                                          .code_pitch = weight_.codes_at(e, 1, 0) - weight_.codes_at(e, 0, 0)};
                visit(elements, area, weight_.codes_at(e, row, column));
            });
            return;
        }
        for (int64_t r = 0; r < geometry_.rows; ++r) {
            const cpu::Rectangle row{.rows = 1, .columns = count, .element_pitch = 0, .code_pitch = 0};
            visit(reader_.read(e, r, column, count), row, weight_.codes_at(e, r, column));
        }
    }

    // Where there are elements that are not finite.
    void encode_saturated_strip(int64_t e, int64_t column, int64_t count)
    {
        uint32_t bits[kSaturatedStrip];
        codec::Multiplier multipliers[kSaturatedStrip];
        examine_strip(e, column, count, bits);
        if (refuses())
            return;
        for (int64_t i = 0; i < count; ++i)
            multipliers[i] = settle(e, column + i, codec::float_from_bits(bits[i]));
        for (int64_t r = 0; r < geometry_.rows; ++r) {
            auto* copy = static_cast<char*>(reader_.copy(e, r, column, count, 0));
            for (int64_t i = 0; i < count; ++i)
                saturate_elements(type_, copy + i * float_type_bytes(type_), 1, codec::float_from_bits(bits[i]));
            const cpu::Rectangle row{.rows = 1, .columns = count, .element_pitch = 0, .code_pitch = 0};
            encode_columns_(copy, row, multipliers, weight_.codes_at(e, r, column));
        }
    }

    void examine_strip(int64_t e, int64_t column, int64_t count, uint32_t* bits)
    {
        for (int64_t i = 0; i < count; ++i)
            bits[i] = 0;
        for (int64_t r = 0; r < geometry_.rows; ++r) {
            const void* elements = reader_.read(e, r, column, count);
            const int64_t flat_index = (e * geometry_.rows + r) * geometry_.columns + column;
            note_nonfinite(type_, elements, count, flat_index, refuses(), findings_);
            for (int64_t i = 0; i < count; ++i) {
                const uint32_t magnitude =
                    codec::finite_or_zero(codec::magnitude_bits_fp32(load_element(type_, elements, i)));
                bits[i] = magnitude > bits[i] ? magnitude : bits[i];
            }
        }
    }

    const Geometry& geometry_;
    const EncodedWeight& weight_;
    const Patch& patch_;
    Findings& findings_;
    SegmentReader reader_;
    FloatType type_;
    cpu::AmaxColumns amax_columns_;
    cpu::EncodeColumns encode_columns_;
};

} // namespace

void encode_columns_of_box(const Engine& engine, const EncodedWeight& weight, const Patch& patch, const Box& box,
                           Findings& findings, cpu::Stores stores)
{
    ColumnEncoder(engine, weight, patch, findings, stores).run(box);
}

} // namespace moeq
