// Weights that become dense: rows are read, decoded in fp32 and rounded once, while those before them are written.
#include <algorithm>

#include "codec/amax.h"
#include "formats/elements.h"
#include "store/convert/plan_decode.h"
#include "store/convert/put_tasks.h"
#include "store/convert/unit.h"
#include "store/load/buffers.h"
#include "store/load/side_tasks.h"

namespace moeq::store {

namespace {

// Bytes of one tensor that lie together in a batch.
struct Stretch {
    int64_t name;
    int64_t begin, bytes; // in the tensor
    int64_t offset;       // in the batch
    int64_t first_task;   // of those that write it
};

// What is decoded together.
class Batch {
public:
    explicit Batch(Allocator& allocator) : chunks(allocator), stretches(allocator), elements(allocator) {}

    moeq_status open(const DecodeCutter& cutter, Report& report)
    {
        const int64_t count = cutter.batch_chunks();
        if (!chunks.reserve(count) || !stretches.reserve(count) || !elements.reserve(cutter.batch_bytes()))
            return report.out_of_memory(static_cast<uint64_t>(cutter.batch_bytes()));
        return MOEQ_OK;
    }

    // Chunks of a tensor that follow each other are one stretch.
    void join()
    {
        (void)stretches.resize(0);
        for (const DecodeChunk& chunk : chunks) {
            Stretch* last = stretches.empty() ? nullptr : stretches.end() - 1;
            if (last != nullptr && last->name == chunk.name && last->begin + last->bytes == chunk.begin) {
                last->bytes += chunk.bytes;
            } else {
                const Stretch next{chunk.name, chunk.begin, chunk.bytes, chunk.offset, 0};
                stretches.append_reserved(&next, 1);
            }
        }
        tasks = 0;
        for (Stretch& stretch : stretches) {
            stretch.first_task = tasks;
            tasks += put_tasks(stretch.begin, stretch.bytes);
        }
    }
    const Stretch& of_task(int64_t task) const
    {
        return *(std::upper_bound(stretches.begin(), stretches.end(), task,
                                  [](int64_t wanted, const Stretch& one) { return wanted < one.first_task; }) -
                 1);
    }

    Array<DecodeChunk> chunks;
    Array<Stretch> stretches;
    Array<char> elements;
    int64_t tasks = 0; // that write it
};

class StackDecoder {
public:
    StackDecoder(const UnitSink& sink, const PlanItem& item, Report& report)
        : sink_(sink), c_(sink.conversion), item_(item),
          source_(c_.engine.kernels, c_.checkpoint, c_.weights, item.source, {.decode_as = item.dtype}),
          wide_(c_.engine.kernels, c_.checkpoint, c_.weights, item.source, {.decode_as = MOEQ_DTYPE_FP32}),
          cutter_(c_.weights, item), report_(report), buffers_(c_.allocator), digests_(c_.allocator)
    {
    }

    moeq_status run()
    {
        MOEQ_TRY(open());
        Batch batches[2] = {Batch(c_.allocator), Batch(c_.allocator)}; // being decoded, being written
        const Batch* done = nullptr;
        auto write = [&](int64_t i, Report& report) { return put(*done, i, report); };
        SideTasks writing(c_.engine.executor, report_.function(), write);
        for (int32_t turn = 0; !cutter_.is_done(); turn ^= 1) {
            Batch& batch = batches[turn];
            MOEQ_TRY(batch.open(cutter_, report_));
            cutter_.fill(&batch.chunks);
            MOEQ_TRY(writing.finish(decode(writing.executor(), batch), report_));
            batch.join();
            done = &batch;
            writing.set(sink_.writer == nullptr ? 0 : batch.tasks);
            MOEQ_TRY(tell(batch));
        }
        return writing.finish(MOEQ_OK, report_);
    }

private:
    moeq_status open()
    {
        MOEQ_TRY(source_.open(StackCut(), report_));
        MOEQ_TRY(wide_.open(StackCut(), report_));
        if (!digests_.resize(cutter_.batch_chunks()))
            return report_.out_of_memory(static_cast<uint64_t>(cutter_.batch_chunks()) * sizeof(Digest));
        return buffers_.open(wide_row_bytes(item_), source_.scratch_bytes(), cutter_.batch_chunks(), report_);
    }

    moeq_status decode(const Executor& executor, Batch& batch)
    {
        return for_each_buffered(
            executor, buffers_, batch.chunks.size(), report_,
            [&](int64_t i, int64_t slot, Report& report) { return decode_chunk(batch, i, slot, report); });
    }

    moeq_status decode_chunk(Batch& batch, int64_t index, int64_t slot, Report& report)
    {
        const DecodeChunk& chunk = batch.chunks[index];
        char* to = batch.elements.data() + chunk.offset;
        MOEQ_TRY(source_.read_piece(chunk.piece, {chunk.expert, chunk.row_begin, chunk.row_end}, to,
                                    buffers_.scratch(slot), report));
        digests_[index] = digest_of(to, chunk.bytes, c_.engine.kernels.digest);
        const int32_t type = float_type(item_.dtype);
        const int64_t count = chunk.bytes / float_type_bytes(type);
        if (c_.engine.kernels.amax[type](to, count) < codec::kNonfiniteBits)
            return MOEQ_OK;
        return check_range(chunk, to, slot, report);
    }

    // Elements that are Inf and were finite before they were rounded: the type cannot hold them.
    moeq_status check_range(const DecodeChunk& chunk, const char* elements, int64_t slot, Report& report)
    {
        const int32_t type = float_type(item_.dtype);
        const int64_t columns = item_.out.columns;
        auto* const wide = reinterpret_cast<float*>(buffers_.elements(slot));
        const auto is_inf = [](float value) { return codec::magnitude_bits_fp32(value) == codec::kNonfiniteBits; };
        for (int64_t row = chunk.row_begin; row < chunk.row_end; ++row) {
            const char* narrow = elements + (row - chunk.row_begin) * columns * float_type_bytes(type);
            int64_t c = 0;
            while (c < columns && !is_inf(load_element(type, narrow, c)))
                ++c;
            if (c == columns)
                continue;
            MOEQ_TRY(wide_.read_piece(chunk.piece, {chunk.expert, row, row + 1}, wide, buffers_.scratch(slot), report));
            for (; c < columns; ++c)
                if (is_inf(load_element(type, narrow, c)) && !is_inf(wide[c]))
                    return refuse_range({chunk.expert, row, c}, chunk, report);
        }
        return MOEQ_OK;
    }

    moeq_status refuse_range(Place place, const DecodeChunk& chunk, Report& report) const
    {
        const Weight& weight = source_.piece(chunk.piece);
        if (weight.ndim == 2)
            place.expert = source_.stack().expert ? weight.expert : -1;
        const moeq_status status = (report.fail(MOEQ_ERROR_VALUE, 2, "source") << "got ").quoted(weight.name)
                                   << " with a value too large for " << dtype_name(item_.dtype) << ", at row "
                                   << place.row << ", column " << place.column << "; want bf16 or fp32";
        report.set_place(place);
        return status;
    }

    moeq_status put(const Batch& batch, int64_t task, Report& report)
    {
        const Stretch& stretch = batch.of_task(task);
        return put_piece(*sink_.writer, c_.plan.name(item_.first_name + stretch.name), stretch.begin,
                         batch.elements.data() + stretch.offset, stretch.bytes, task - stretch.first_task, report);
    }

    // Bytes of the source are counted by rows.
    moeq_status tell(const Batch& batch)
    {
        int64_t bytes = 0;
        for (int64_t i = 0; i < batch.chunks.size(); ++i) {
            const DecodeChunk& chunk = batch.chunks[i];
            MOEQ_TRY(sink_.note(digests_[i], report_));
            bytes += bytes_before(chunk, chunk.row_end) - bytes_before(chunk, chunk.row_begin);
        }
        return c_.progress.add(MOEQ_STAGE_READ, source_.stack().name, bytes, report_);
    }
    // Of a piece's bytes, those of the rows before one of an expert.
    int64_t bytes_before(const DecodeChunk& chunk, int64_t row) const
    {
        const Weight& piece = source_.piece(chunk.piece);
        const int64_t bytes = piece.bytes;
        const int64_t rows = piece.experts() * piece.rows();
        const int64_t before = chunk.expert * piece.rows() + row;
        return bytes / rows * before + bytes % rows * before / rows;
    }

    const UnitSink& sink_;
    const Conversion& c_;
    const PlanItem& item_;
    StackSource source_;
    StackSource wide_; // the same as fp32
    DecodeCutter cutter_;
    Report& report_;
    Buffers buffers_;
    Array<Digest> digests_; // of the chunks of a batch
};

} // namespace

moeq_status decode_stack(const UnitSink& sink, const PlanItem& item, Report& report)
{
    return StackDecoder(sink, item, report).run();
}

} // namespace moeq::store
