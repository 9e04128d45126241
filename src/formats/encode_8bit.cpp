// Encoding of the formats whose scale units are rectangles: rows, columns, tiles or whole experts.
#include "formats/segment_reader.h"

namespace moeq {

namespace {

constexpr int64_t kStrip = 256; // columns that are encoded together when each has a scale of its own

class BoxEncoder {
public:
    BoxEncoder(const Engine& engine, const EncodedWeight& weight, const Patch& patch, const TensorView* amax,
               Findings& findings)
        : geometry_(weight.geometry), weight_(weight), amax_(amax), findings_(findings),
          reader_(patch, weight.geometry.spec.profile == MOEQ_PROFILE_BNB_CPU_FP16), type_(reader_.type()),
          amax_run_(engine.kernels.amax[type_]), amax_columns_(engine.kernels.amax_columns[type_]),
          encode_(engine.kernels.formats[geometry_.format->index()].encode[type_]),
          encode_columns_(engine.kernels.formats[geometry_.format->index()].encode_columns[type_])
    {
    }

    void run(const Box& box)
    {
        for (int64_t e = box.expert_begin; e < box.expert_end; ++e) {
            if (geometry_.scale_per_column())
                for (int64_t c = box.column_begin; c < box.column_end; c += kStrip)
                    encode_strip(e, c, minimum(kStrip, box.column_end - c));
            else
                encode_tiles(e, box);
        }
    }

private:
    bool refuses() const { return geometry_.spec.nonfinite == MOEQ_NONFINITE_REFUSE; }
    int64_t flat_index(int64_t e, int64_t r, int64_t c) const
    {
        return (e * geometry_.rows + r) * geometry_.columns + c;
    }
    codec::Multiplier multiplier(float amax) const
    {
        return geometry_.format->multiplier(amax, geometry_.spec.profile);
    }
    float statistic(float amax) const
    {
        return geometry_.scale_kind() == cpu::kFactor ? geometry_.format->factor(amax) : amax;
    }

    void encode_tiles(int64_t e, const Box& box)
    {
        const Tiling& rows = geometry_.row_tiling;
        const Tiling& columns = geometry_.column_tiling;
        int64_t row_end;
        for (int64_t r = box.row_begin; r < box.row_end; r = row_end) {
            const int64_t i = rows.index_of(r);
            row_end = minimum(rows.end(i), box.row_end);
            int64_t column_end;
            for (int64_t c = box.column_begin; c < box.column_end; c = column_end) {
                const int64_t j = columns.index_of(c);
                column_end = minimum(columns.end(j), box.column_end);
                encode_tile({e, e + 1, r, row_end, c, column_end}, weight_.scale_at(e, i, j));
            }
        }
    }

    // visit(row, column, count) for the contiguous segments of a tile.
    template <class Visit>
    void for_each_segment(const Box& tile, Visit visit)
    {
        for (int64_t r = tile.row_begin; r < tile.row_end; ++r)
            for (int64_t c = tile.column_begin; c < tile.column_end;) {
                const int64_t count = minimum(tile.column_end - c, reader_.limit());
                visit(r, c, count);
                c += count;
            }
    }

    void encode_tile(const Box& tile, float* scale)
    {
        const int64_t e = tile.expert_begin;
        uint32_t bits = 0;
        for_each_segment(tile, [&](int64_t r, int64_t c, int64_t count) {
            const uint32_t found = amax_run_(reader_.read(e, r, c, count), count);
            bits = found > bits ? found : bits;
        });
        const bool nonfinite = bits >= codec::kNonfiniteBits;
        if (nonfinite) {
            bits = examine(tile);
            if (refuses())
                return;
        }
        float amax = codec::float_from_bits(bits);
        if (amax_ != nullptr) {
            const float given = given_amax(e);
            if (amax > given)
                findings_.see(MOEQ_SEEN_SATURATED);
            amax = given;
        } else {
            *scale = statistic(amax);
        }
        const codec::Multiplier m = multiplier(amax);
        for_each_segment(tile, [&](int64_t r, int64_t c, int64_t count) {
            if (nonfinite)
                encode_saturated(e, r, c, count, amax, m);
            else
                encode_(reader_.read(e, r, c, count), count, m, weight_.codes_at(e, r, c));
        });
    }

    float given_amax(int64_t e) const
    {
        return reinterpret_cast<const float*>(amax_->data)[amax_->ndim == 0 ? 0 : e * amax_->strides[0]];
    }

    // Notes what is not finite in a tile; returns the largest finite magnitude.
    uint32_t examine(const Box& tile)
    {
        const int64_t e = tile.expert_begin;
        uint32_t bits = 0;
        for_each_segment(tile, [&](int64_t r, int64_t c, int64_t count) {
            const void* elements = reader_.read(e, r, c, count);
            note_nonfinite(type_, elements, count, flat_index(e, r, c), refuses(), findings_);
            const uint32_t finite = finite_amax(type_, elements, count);
            bits = finite > bits ? finite : bits;
        });
        return bits;
    }

    void encode_saturated(int64_t e, int64_t r, int64_t c, int64_t count, float amax, codec::Multiplier m)
    {
        // A given amax may not be a number of the source's type; Inf itself saturates at its code.
        const float largest = amax_ != nullptr ? codec::float_from_bits(codec::kNonfiniteBits) : amax;
        for (int64_t done = 0; done < count; done += kSegment) {
            const int64_t some = minimum(kSegment, count - done);
            void* elements = reader_.copy(e, r, c + done, some, 0);
            saturate_elements(type_, elements, some, largest);
            encode_(elements, some, m, weight_.codes_at(e, r, c + done));
        }
    }

    // A strip of columns of one expert, each with its own scale over all rows.
    void encode_strip(int64_t e, int64_t column, int64_t count)
    {
        uint32_t bits[kStrip] = {};
        for (int64_t r = 0; r < geometry_.rows; ++r)
            amax_columns_(reader_.read(e, r, column, count), count, bits);
        bool nonfinite = false;
        for (int64_t i = 0; i < count; ++i)
            nonfinite = nonfinite || bits[i] >= codec::kNonfiniteBits;
        if (nonfinite) {
            examine_strip(e, column, count, bits);
            if (refuses())
                return;
        }
        codec::Multiplier multipliers[kStrip];
        for (int64_t i = 0; i < count; ++i) {
            const float amax = codec::float_from_bits(bits[i]);
            *weight_.scale_at(e, 0, column + i) = statistic(amax);
            multipliers[i] = multiplier(amax);
        }
        for (int64_t r = 0; r < geometry_.rows; ++r) {
            const void* elements;
            if (nonfinite) {
                void* copy = reader_.copy(e, r, column, count, 0);
                for (int64_t i = 0; i < count; ++i)
                    saturate_elements(type_, static_cast<char*>(copy) + i * float_type_bytes(type_), 1,
                                      codec::float_from_bits(bits[i]));
                elements = copy;
            } else {
                elements = reader_.read(e, r, column, count);
            }
            encode_columns_(elements, count, multipliers, weight_.codes_at(e, r, column));
        }
    }

    void examine_strip(int64_t e, int64_t column, int64_t count, uint32_t* bits)
    {
        for (int64_t i = 0; i < count; ++i)
            bits[i] = 0;
        for (int64_t r = 0; r < geometry_.rows; ++r) {
            const void* elements = reader_.read(e, r, column, count);
            note_nonfinite(type_, elements, count, flat_index(e, r, column), refuses(), findings_);
            for (int64_t i = 0; i < count; ++i) {
                const uint32_t magnitude =
                    codec::finite_or_zero(codec::magnitude_bits_fp32(load_element(type_, elements, i)));
                bits[i] = magnitude > bits[i] ? magnitude : bits[i];
            }
        }
    }

    const Geometry& geometry_;
    const EncodedWeight& weight_;
    const TensorView* amax_;
    Findings& findings_;
    SegmentReader reader_;
    FloatType type_;
    cpu::AmaxRun amax_run_;
    cpu::AmaxColumns amax_columns_;
    cpu::EncodeRun encode_;
    cpu::EncodeColumns encode_columns_;
};

} // namespace

void encode_box(const Engine& engine, const EncodedWeight& weight, const Patch& patch, const Box& box,
                const TensorView* amax, Findings& findings)
{
    BoxEncoder(engine, weight, patch, amax, findings).run(box);
}

void store_given_scales(const EncodedWeight& weight, const TensorView& amax)
{
    const Geometry& g = weight.geometry;
    for (int64_t e = 0; e < g.experts; ++e) {
        const float given = reinterpret_cast<const float*>(amax.data)[amax.ndim == 0 ? 0 : e * amax.strides[0]];
        *weight.scale_at(e, 0, 0) = g.scale_kind() == cpu::kFactor ? g.format->factor(given) : given;
    }
}

} // namespace moeq
