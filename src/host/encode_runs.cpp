// Encoding of the formats whose scale units are blocks of a run of elements: of an expert, of a row, or of the whole tensor.
#include "host/segment_reader.h"

namespace moeq {

namespace {

class RunEncoder {
public:
    RunEncoder(const Engine& engine, const EncodedWeight& weight, const Patch& patch, Findings& findings,
               cpu::Stores stores)
        : g_(weight.geometry), weight_(weight), patch_(patch), findings_(findings), reader_(engine, patch, false),
          type_(reader_.type()), amax_run_(engine.kernels.amax[type_]), amax_blocks_(engine.kernels.amax_blocks[type_]),
          encode_blocks_(engine.kernels.runs[g_.format->kernels()].encode_blocks[stores][type_])
    {
    }

    void run(int64_t run, int64_t begin, int64_t end, float* absmax)
    {
        run_ = run;
        uint8_t* codes = weight_.run_codes(run);
        for (int64_t f = begin; f < end;) {
            float* statistics = absmax + (f - begin) / g_.block;
            const int64_t count = direct_count(f, end);
            const int64_t rows = count > 0 ? 0 : band_rows(end - f);
            if (rows > 0) {
                encode_band(f, rows, statistics, codes);
                f += rows * g_.columns;
            } else if (count > 0) {
                const void* elements = patch_.at(at_.expert, at_.row, at_.column);
                const uint32_t bits =
                    encode_blocks_(elements, count, g_.block, statistics, codes + g_.format->code_byte(f));
                if (bits >= codec::kNonfiniteBits)
                    encode_one_by_one(f, f + count, statistics, codes);
                f += count;
            } else {
                const int64_t some = minimum(g_.block, end - f);
                *statistics = encode_block(f, some, codes + g_.format->code_byte(f));
                f += some;
            }
        }
    }

    // Only the statistic of a block, as encode_block would store it.
    float block_statistic(int64_t run, int64_t begin)
    {
        run_ = run;
        const int64_t count = minimum(g_.block, g_.run_length - begin);
        const void* elements;
        if (direct_count(begin, begin + count) == count)
            elements = patch_.at(at_.expert, at_.row, at_.column);
        else
            elements = gather(begin, count);
        uint32_t bits = amax_run_(elements, count);
        if (bits >= codec::kNonfiniteBits)
            bits = finite_amax(type_, elements, count);
        const float amax = codec::float_from_bits(bits);
        return follows_bnb() ? codec::stored_absmax_bnb_cpu(amax, count < g_.block) : amax;
    }

    // The same of blocks [first, first + count) of a run.
    void block_statistics(int64_t run, int64_t first, int64_t count, float* absmax)
    {
        run_ = run;
        const int64_t end = minimum((first + count) * g_.block, g_.run_length);
        for (int64_t f = first * g_.block; f < end;) {
            const int64_t direct = direct_count(f, end);
            float* out = absmax + (f / g_.block - first);
            if (direct == 0) {
                *out = block_statistic(run, f);
                f += g_.block;
                continue;
            }
            const void* elements = patch_.at(at_.expert, at_.row, at_.column);
            if (amax_blocks_(elements, direct, g_.block, out) >= codec::kNonfiniteBits)
                for (int64_t i = 0; i < direct; i += g_.block)
                    out[i / g_.block] = block_statistic(run, f + i);
            f += direct;
        }
    }

    // A block whose elements do not lie in a patch.
    void run_lone_block(int64_t run, int64_t begin, const void* elements, int64_t count, float* absmax)
    {
        run_ = run;
        std::memcpy(reader_.buffer(), elements, static_cast<uint64_t>(count * float_type_bytes(type_)));
        *absmax = encode_copy(begin, reader_.buffer(), count, weight_.run_codes(run) + g_.format->code_byte(begin));
    }

private:
    // Kernels want many blocks at a time. With more, bands would have less than a cache line of each column of fp32.
    static constexpr int64_t kFold = 4;

    bool refuses() const { return g_.spec.nonfinite == MOEQ_NONFINITE_REFUSE; }
    bool follows_bnb() const { return g_.spec.profile != MOEQ_PROFILE_MOEQ; }

    // Where element f of the run is in the weight.
    Place locate(int64_t f) const
    {
        if (g_.run_per_row())
            return {run_ / g_.rows, run_ % g_.rows, f};
        const int64_t expert = g_.flat() ? f / g_.expert_elements() : run_;
        const int64_t rest = g_.flat() ? f % g_.expert_elements() : f;
        return {expert, rest / g_.columns, rest % g_.columns};
    }

    // How many elements from f on lie one behind the other in memory.
    int64_t contiguous_count(int64_t f)
    {
        at_ = locate(f);
        const StackView& view = patch_.view;
        const Box& box = patch_.box;
        if (view.column_stride != 1)
            return 0;
        const int64_t in_row = box.column_end - at_.column;
        if (g_.run_per_row() || box.columns() != g_.columns || (view.row_stride != g_.columns && box.rows() > 1))
            return in_row;
        const int64_t in_expert = in_row + (box.row_end - at_.row - 1) * g_.columns;
        if (!g_.flat() || box.rows() != g_.rows || !view.lead.single_stride() ||
            (view.lead.stride() != g_.expert_elements() && box.experts() > 1))
            return in_expert;
        return in_expert + (box.expert_end - at_.expert - 1) * g_.expert_elements();
    }

    // How many elements from f on the kernel can take from the source's memory: whole blocks, or up to the end.
    int64_t direct_count(int64_t f, int64_t end)
    {
        const int64_t contiguous = contiguous_count(f);
        if (follows_bnb() && contiguous > 0)
            return 0;
        return contiguous >= end - f ? end - f : round_down(contiguous, g_.block);
    }

    // How many whole rows of the next `count` elements, from `at_` on, are better read in bands: rows of whole blocks, which lie
    // closer together than columns.
    int64_t band_rows(int64_t count) const
    {
        if (!reader_.banded() || follows_bnb() || g_.run_per_row() || at_.column != 0 ||
            patch_.box.columns() != g_.columns || g_.columns % g_.block != 0 || g_.block > reader_.band_columns(kFold))
            return 0;
        const int64_t rows = minimum(count / g_.columns, patch_.box.row_end - at_.row);
        return rows > 1 ? rows : 0;
    }

    // So many rows from element f of the run on, which is at `at_`.
    void encode_band(int64_t f, int64_t rows, float* absmax, uint8_t* codes)
    {
        const Place at = at_;
        const Box part{at.expert, at.expert + 1, at.row, at.row + rows, 0, g_.columns};
        const int64_t columns = round_down(reader_.band_columns(kFold), g_.block);
        reader_.for_each_band(part, columns, kFold, [&](int64_t row, int64_t some, int64_t c, int64_t count) {
            for (int64_t r = row; r < row + some; ++r) {
                const int64_t first = (r - at.row) * g_.columns + c; // from f on
                const void* elements = reader_.read(at.expert, r, c, count);
                float* statistics = absmax + first / g_.block;
                const uint32_t bits =
                    encode_blocks_(elements, count, g_.block, statistics, codes + g_.format->code_byte(f + first));
                if (bits >= codec::kNonfiniteBits)
                    encode_one_by_one(f + first, f + first + count, statistics, codes);
            }
        });
    }

    // Up to one block, row by row, into the reader's buffer.
    void* gather(int64_t f, int64_t count)
    {
        for (int64_t done = 0; done < count;) {
            const Place place = locate(f + done);
            const int64_t some = minimum(count - done, g_.columns - place.column);
            reader_.copy(place.expert, place.row, place.column, some, done);
            done += some;
        }
        return reader_.buffer();
    }

    void encode_one_by_one(int64_t begin, int64_t end, float* absmax, uint8_t* codes)
    {
        for (int64_t f = begin; f < end; f += g_.block)
            absmax[(f - begin) / g_.block] =
                encode_block(f, minimum(g_.block, end - f), codes + g_.format->code_byte(f));
    }

    float encode_block(int64_t f, int64_t count, uint8_t* codes)
    {
        return encode_copy(f, gather(f, count), count, codes);
    }

    // elements may be changed.
    float encode_copy(int64_t f, void* elements, int64_t count, uint8_t* codes)
    {
        if (amax_run_(elements, count) >= codec::kNonfiniteBits) {
            note(f, elements, count);
            if (refuses())
                return 0.0f;
            saturate_elements(type_, elements, count, codec::float_from_bits(finite_amax(type_, elements, count)));
        }
        if (follows_bnb()) {
            alignas(64) float widened[kSegment];
            for (int64_t i = 0; i < count; ++i)
                widened[i] = load_element(type_, elements, i);
            return g_.format->encode_block_bnb_cpu(widened, count, count < g_.block, codes);
        }
        float absmax = 0.0f;
        encode_blocks_(elements, count, g_.block, &absmax, codes);
        return absmax;
    }

    void note(int64_t f, const void* elements, int64_t count)
    {
        const Place place = locate(f);
        const int64_t flat_index = (place.expert * g_.rows + place.row) * g_.columns + place.column;
        note_nonfinite(type_, elements, count, flat_index, refuses(), findings_);
    }

    const Geometry& g_;
    const EncodedWeight& weight_;
    const Patch& patch_;
    Findings& findings_;
    SegmentReader reader_;
    FloatType type_;
    cpu::AmaxRun amax_run_;
    cpu::AmaxBlocks amax_blocks_;
    cpu::EncodeBlocks encode_blocks_;
    int64_t run_ = 0;
    Place at_;
};

} // namespace

void encode_run(const Engine& engine, const EncodedWeight& weight, const Patch& patch, int64_t run, int64_t begin,
                int64_t end, float* absmax, Findings& findings, cpu::Stores stores)
{
    RunEncoder(engine, weight, patch, findings, stores).run(run, begin, end, absmax);
}

void encode_lone_block(const Engine& engine, const EncodedWeight& weight, int32_t dtype, const void* elements,
                       int64_t run, int64_t begin, int64_t count, float* absmax, Findings& findings)
{
    Patch nowhere{};
    nowhere.view.dtype = dtype;
    RunEncoder(engine, weight, nowhere, findings, cpu::kCached).run_lone_block(run, begin, elements, count, absmax);
}

void read_block_statistics(const Engine& engine, const EncodedWeight& weight, const Patch& patch, int64_t first,
                           int64_t count, float* absmax)
{
    Findings ignored; // the encoding pass has noted them
    RunEncoder encoder(engine, weight, patch, ignored, cpu::kCached);
    const int64_t per_run = weight.geometry.run_blocks();
    for (int64_t at = first; at < first + count;) {
        const int64_t run = at / per_run;
        const int64_t stop = minimum(first + count, (run + 1) * per_run);
        encoder.block_statistics(run, at - run * per_run, stop - at, absmax + (at - first));
        at = stop;
    }
}

} // namespace moeq
