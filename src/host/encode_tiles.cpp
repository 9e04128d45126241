// Encoding of the formats whose scale units are rectangles: rows, tiles or whole experts.
#include "host/segment_reader.h"

namespace moeq {

namespace {

constexpr int64_t kBandTiles = 64;        // tiles side by side that are encoded together, at most
constexpr int64_t kBandBytes = 128 << 10; // of the source: this and the next band stay in a second-level cache

class BoxEncoder {
public:
    BoxEncoder(const Engine& engine, const EncodedWeight& weight, const Patch& patch, const TensorView* amax,
               Findings& findings, cpu::Stores stores)
        : geometry_(weight.geometry), weight_(weight), patch_(patch), amax_(amax), findings_(findings),
          reader_(engine, patch, weight.geometry.spec.profile == MOEQ_PROFILE_BNB_CPU_FP16), type_(reader_.type()),
          amax_run_(engine.kernels.amax[type_]), amax_rectangle_(engine.kernels.amax_rectangle[type_]),
          amax_columns_(engine.kernels.amax_columns[type_]),
          encode_(engine.kernels.tiles[geometry_.format->kernels()].encode[stores][type_]),
          encode_tiles_(engine.kernels.tiles[geometry_.format->kernels()].encode_tiles[stores][type_])
    {
    }

    void run(const Box& box)
    {
        for (int64_t e = box.expert_begin; e < box.expert_end; ++e) {
            if (has_whole_rows(box) && reader_.direct())
                encode_rows(e, box);
            else if (has_whole_rows(box) && reader_.banded())
                encode_row_bands(e, box);
            else
                encode_tiles(e, box);
        }
    }

    // The largest magnitude of a box of one expert, of finite elements only where others are saturated.
    uint32_t box_amax(const Box& box)
    {
        uint32_t bits = 0;
        for_each_segment(box, [&](int64_t r, int64_t c, int64_t count) {
            const uint32_t found = amax_run_(reader_.read(box.expert_begin, r, c, count), count);
            bits = found > bits ? found : bits;
        });
        return bits >= codec::kNonfiniteBits ? examine(box) : bits;
    }

    // A box of one expert whose amax is known. suspect: there may be elements that are not finite.
    void encode_known(const Box& box, float amax, bool suspect)
    {
        const codec::Multiplier m = multiplier(amax);
        for_each_segment(box, [&](int64_t r, int64_t c, int64_t count) {
            const void* elements = reader_.read(box.expert_begin, r, c, count);
            if (suspect && amax_run_(elements, count) >= codec::kNonfiniteBits)
                encode_saturated(box.expert_begin, r, c, count, amax, m);
            else
                encode_(elements, count, m, nullptr, weight_.codes_at(box.expert_begin, r, c));
        });
    }

private:
    // Rows that are scale units of their own, or need not wait for others because their amax is given.
    bool has_whole_rows(const Box& box) const
    {
        return (geometry_.row_tiling.size == 1 || amax_ != nullptr) && box.columns() == geometry_.columns &&
               geometry_.column_tiling.size >= geometry_.columns && geometry_.column_tiling.border == 0 &&
               geometry_.columns > 0;
    }

    // While a row is encoded the next one is fetched and its amax found.
    void encode_rows(int64_t e, const Box& box)
    {
        const int64_t count = box.columns();
        const void* row = reader_.read(e, box.row_begin, 0, count);
        uint32_t bits = amax_run_(row, count);
        for (int64_t r = box.row_begin; r < box.row_end; ++r) {
            const void* next = r + 1 < box.row_end ? patch_.at(e, r + 1, 0) : nullptr;
            if (bits >= codec::kNonfiniteBits) {
                encode_tile({e, e + 1, r, r + 1, 0, count}, weight_.scale_at(e, geometry_.row_tiling.index_of(r), 0));
                bits = next == nullptr ? 0 : amax_run_(next, count);
            } else {
                const float amax = settle(e, r, codec::float_from_bits(bits));
                bits = encode_(row, count, multiplier(amax), next, weight_.codes_at(e, r, 0));
            }
            row = next;
        }
    }

    // The same from memory where rows lie closer together than columns. A band of rows is read twice, the second time from a
    // cache; its magnitudes are those of columns of what lies in memory.
    void encode_row_bands(int64_t e, const Box& box)
    {
        constexpr int64_t kMostRows = 128;
        int64_t rows;
        for (int64_t begin = box.row_begin; begin < box.row_end; begin += rows) {
            rows = minimum(kMostRows, box.row_end - begin);
            const Box band{e, e + 1, begin, begin + rows, 0, box.columns()};
            uint32_t bits[kMostRows] = {};
            amax_columns_(patch_.at(e, begin, 0),
                          {.rows = box.columns(),
                           .columns = rows,
                           .element_pitch = patch_.view.column_stride * patch_.view.itemsize,
                           .code_pitch = 0},
                          bits);
            codec::Multiplier multipliers[kMostRows];
            for (int64_t i = 0; i < rows; ++i)
                if (bits[i] < codec::kNonfiniteBits)
                    multipliers[i] = multiplier(settle(e, begin + i, codec::float_from_bits(bits[i])));
            for_each_segment(band, [&](int64_t r, int64_t c, int64_t count) {
                if (bits[r - begin] < codec::kNonfiniteBits)
                    encode_(reader_.read(e, r, c, count), count, multipliers[r - begin], nullptr,
                            weight_.codes_at(e, r, c));
            });
            for (int64_t i = 0; i < rows; ++i)
                if (bits[i] >= codec::kNonfiniteBits)
                    encode_tile({e, e + 1, begin + i, begin + i + 1, 0, box.columns()},
                                weight_.scale_at(e, geometry_.row_tiling.index_of(begin + i), 0));
        }
    }

    // The amax that a row is encoded with: its own, whose statistic is stored, or the given one.
    float settle(int64_t e, int64_t r, float amax)
    {
        if (amax_ == nullptr) {
            *weight_.scale_at(e, r, 0) = statistic(amax);
            return amax;
        }
        const float given = given_amax(e);
        if (amax > given)
            findings_.see(MOEQ_SEEN_SATURATED);
        return given;
    }

    bool refuses() const { return geometry_.spec.nonfinite == MOEQ_NONFINITE_REFUSE; }
    int64_t flat_index(int64_t e, int64_t r, int64_t c) const
    {
        return (e * geometry_.rows + r) * geometry_.columns + c;
    }
    codec::Multiplier multiplier(float amax) const
    {
        return geometry_.format->multiplier(amax, geometry_.spec.profile);
    }
    float statistic(float amax) const { return geometry_.statistic(amax); }

    void encode_tiles(int64_t e, const Box& box)
    {
        const Tiling& rows = geometry_.row_tiling;
        int64_t row_end;
        for (int64_t r = box.row_begin; r < box.row_end; r = row_end) {
            row_end = minimum(rows.end(rows.index_of(r)), box.row_end);
            const Box tiles{e, e + 1, r, row_end, box.column_begin, box.column_end};
            const int64_t width = band_width(tiles);
            if (width > 0)
                encode_bands(tiles, width, row_end < box.row_end);
            else
                encode_one_by_one(tiles);
        }
    }

    // Tiles side by side.
    void encode_one_by_one(const Box& box)
    {
        const Tiling& columns = geometry_.column_tiling;
        const int64_t i = geometry_.row_tiling.index_of(box.row_begin);
        int64_t column_end;
        for (int64_t c = box.column_begin; c < box.column_end; c = column_end) {
            const int64_t j = columns.index_of(c);
            column_end = minimum(columns.end(j), box.column_end);
            encode_tile({box.expert_begin, box.expert_end, box.row_begin, box.row_end, c, column_end},
                        weight_.scale_at(box.expert_begin, i, j));
        }
    }

    // Columns of tiles side by side that are better encoded row by row, all of a row in one go: memory is read in longer
    // stretches. 0: one tile at a time is better, or the only way.
    int64_t band_width(const Box& box) const
    {
        const Tiling& columns = geometry_.column_tiling;
        const int64_t row_bytes = box.rows() * float_type_bytes(type_);
        if (amax_ != nullptr || columns.border != 0 || !reader_.direct() || columns.size * row_bytes > kBandBytes)
            return 0;
        return minimum(kBandTiles, kBandBytes / (columns.size * row_bytes)) * columns.size;
    }

    // Tiles side by side, in bands so wide. While one is encoded the next one is fetched.
    void encode_bands(const Box& box, int64_t width, bool more_below)
    {
        if (!fetched_)
            fetch(box, minimum(width, box.columns()));
        fetched_ = more_below;
        for (int64_t c = box.column_begin; c < box.column_end; c += width) {
            Box band = box;
            band.column_begin = c;
            band.column_end = minimum(c + width, box.column_end);
            const char* next = c + width < box.column_end ? patch_.at(box.expert_begin, box.row_begin, c + width)
                               : more_below               ? patch_.at(box.expert_begin, box.row_end, box.column_begin)
                                                          : nullptr;
            if (!encode_band(band, next))
                encode_one_by_one(band);
        }
    }

    // Asks for columns of a box row by row: tiles are then read in pieces too short for what the processor fetches by itself.
    void fetch(const Box& box, int64_t columns) const
    {
        constexpr int64_t kLine = 64;
        for (int64_t r = box.row_begin; r < box.row_end; ++r) {
            const char* row = patch_.at(box.expert_begin, r, box.column_begin);
            for (int64_t i = 0; i < columns * float_type_bytes(type_); i += kLine)
                __builtin_prefetch(row + i);
        }
    }

    // False: there are elements that are not finite.
    bool encode_band(const Box& band, const char* next)
    {
        const int64_t e = band.expert_begin;
        const int64_t tile = geometry_.column_tiling.size;
        const int64_t row_tile = geometry_.row_tiling.index_of(band.row_begin);
        const int64_t first = geometry_.column_tiling.index_of(band.column_begin);
        codec::Multiplier multipliers[kBandTiles];
        for (int64_t c = 0, j = 0; c < band.columns(); c += tile, ++j) {
            const uint32_t bits = amax_rectangle_(patch_.at(e, band.row_begin, band.column_begin + c),
                                                  rectangle(band, minimum(tile, band.columns() - c)));
            if (bits >= codec::kNonfiniteBits)
                return false;
            const float amax = codec::float_from_bits(bits);
            *weight_.scale_at(e, row_tile, first + j) = statistic(amax);
            multipliers[j] = multiplier(amax);
        }
        encode_tiles_(patch_.at(e, band.row_begin, band.column_begin), rectangle(band, band.columns()), tile,
                      multipliers, next, weight_.codes_at(e, band.row_begin, band.column_begin));
        return true;
    }

    // Some columns of a box that are read from the source's own memory.
    cpu::Rectangle rectangle(const Box& box, int64_t columns) const
    {
        return {.rows = box.rows(),
                .columns = columns,
                .element_pitch = patch_.view.row_stride * patch_.view.itemsize,
                .code_pitch = weight_.codes_at(box.expert_begin, 1, 0) - weight_.codes_at(box.expert_begin, 0, 0)};
    }

    // visit(row, column, count) for the contiguous segments of a tile.
    template <class Visit>
    void for_each_segment(const Box& tile, Visit visit)
    {
        if (reader_.banded() && tile.rows() > 1) {
            reader_.for_each_band(tile, reader_.band_columns(), 1,
                                  [&](int64_t row, int64_t rows, int64_t c, int64_t count) {
                                      for (int64_t r = row; r < row + rows; ++r)
                                          visit(r, c, count);
                                  });
            return;
        }
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
                encode_(reader_.read(e, r, c, count), count, m, nullptr, weight_.codes_at(e, r, c));
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
            encode_(elements, some, m, nullptr, weight_.codes_at(e, r, c + done));
        }
    }

    const Geometry& geometry_;
    const EncodedWeight& weight_;
    const Patch& patch_;
    const TensorView* amax_;
    Findings& findings_;
    SegmentReader reader_;
    FloatType type_;
    cpu::AmaxRun amax_run_;
    cpu::AmaxRectangle amax_rectangle_;
    cpu::AmaxColumns amax_columns_;
    cpu::EncodeRun encode_;
    cpu::EncodeTiles encode_tiles_;
    bool fetched_ = false; // the band to come
};

} // namespace

void encode_box(const Engine& engine, const EncodedWeight& weight, const Patch& patch, const Box& box,
                const TensorView* amax, Findings& findings, cpu::Stores stores)
{
    if (weight.geometry.scale_per_column())
        encode_columns_of_box(engine, weight, patch, box, findings, stores);
    else
        BoxEncoder(engine, weight, patch, amax, findings, stores).run(box);
}

namespace {

// The bits of an expert's amax while it is gathered.
uint32_t* gathered_bits(const EncodedWeight& weight, int64_t expert)
{
    return reinterpret_cast<uint32_t*>(weight.scale_at(expert, 0, 0));
}

} // namespace

void gather_amax(const Engine& engine, const EncodedWeight& weight, const Patch& patch, const Box& box,
                 Findings& findings)
{
    const uint32_t bits = BoxEncoder(engine, weight, patch, nullptr, findings, cpu::kCached).box_amax(box);
    uint32_t* const place = gathered_bits(weight, box.expert_begin);
    uint32_t most = __atomic_load_n(place, __ATOMIC_RELAXED);
    while (bits > most && !__atomic_compare_exchange_n(place, &most, bits, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

void encode_gathered(const Engine& engine, const EncodedWeight& weight, const Patch& patch, const Box& box,
                     Findings& findings, cpu::Stores stores)
{
    const float amax = codec::float_from_bits(*gathered_bits(weight, box.expert_begin));
    const bool suspect = (findings.seen() & (MOEQ_SEEN_NAN | MOEQ_SEEN_INF)) != 0;
    BoxEncoder(engine, weight, patch, nullptr, findings, stores).encode_known(box, amax, suspect);
}

void store_gathered_scale(const EncodedWeight& weight, int64_t expert)
{
    const float amax = codec::float_from_bits(*gathered_bits(weight, expert));
    *weight.scale_at(expert, 0, 0) = weight.geometry.statistic(amax);
}

void store_given_scales(const EncodedWeight& weight, const TensorView& amax)
{
    const Geometry& g = weight.geometry;
    for (int64_t e = 0; e < g.experts; ++e) {
        const float given = reinterpret_cast<const float*>(amax.data)[amax.ndim == 0 ? 0 : e * amax.strides[0]];
        *weight.scale_at(e, 0, 0) = g.statistic(given);
    }
}

} // namespace moeq
