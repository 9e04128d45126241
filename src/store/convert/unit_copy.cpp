// Tensors that stay as they are, in pieces that are read, digested and written side by side.
#include "store/convert/unit.h"
#include "store/load/task_errors.h"

namespace moeq::store {

namespace {

constexpr int64_t kPieceBytes = 4 << 20;
constexpr int64_t kBatchPieces = 256;

struct Piece {
    int64_t tensor, begin, count;
    int64_t buffer; // offset
};

class Copier {
public:
    Copier(const UnitSink& sink, Report& report)
        : sink_(sink), c_(sink.conversion), report_(report), buffer_(c_.allocator)
    {
    }

    moeq_status run(int64_t first, int64_t last)
    {
        int64_t bytes = 0;
        for (int64_t i = first; i < last; ++i)
            bytes += c_.plan.items[i].bytes_in;
        const int64_t room = minimum(bytes, kCopyBytes);
        if (!buffer_.reserve(maximum(room, 1)))
            return report_.out_of_memory(static_cast<uint64_t>(room));
        for (int64_t i = first; i < last; ++i) {
            const int64_t tensor = c_.plan.items[i].source;
            for (int64_t begin = 0; begin < c_.plan.items[i].bytes_in;) {
                const int64_t count = minimum(kPieceBytes, c_.plan.items[i].bytes_in - begin);
                MOEQ_TRY(add({tensor, begin, count, 0}));
                begin += count;
            }
        }
        return flush();
    }

private:
    moeq_status add(Piece piece)
    {
        if (count_ == kBatchPieces || filled_ + piece.count > kCopyBytes)
            MOEQ_TRY(flush());
        piece.buffer = filled_;
        filled_ += piece.count;
        pieces_[count_++] = piece;
        return MOEQ_OK;
    }

    moeq_status flush()
    {
        if (count_ == 0)
            return MOEQ_OK;
        TaskErrors errors;
        auto body = [&](int64_t i) {
            errors.run(i, report_.function(), [&](Report& report) { return move(pieces_[i], &digests_[i], report); });
        };
        MOEQ_TRY(c_.engine.executor.for_each(count_, body, report_));
        MOEQ_TRY(errors.conclude(report_));
        for (int64_t i = 0; i < count_; ++i)
            MOEQ_TRY(sink_.note(digests_[i], report_));
        const char* name = c_.checkpoint.tensor(pieces_[count_ - 1].tensor).entry.name;
        const int64_t bytes = filled_;
        count_ = filled_ = 0;
        return c_.progress.add(MOEQ_STAGE_READ, name, bytes, report_);
    }

    moeq_status move(const Piece& piece, Digest* digest, Report& report)
    {
        char* bytes = buffer_.data() + piece.buffer;
        MOEQ_TRY(c_.checkpoint.read(piece.tensor, piece.begin, piece.count, bytes, report));
        *digest = digest_of(bytes, piece.count, c_.engine.kernels.digest);
        if (sink_.writer == nullptr)
            return MOEQ_OK;
        return sink_.writer->put(c_.checkpoint.tensor(piece.tensor).entry.name, piece.begin, bytes, piece.count,
                                 report);
    }

    const UnitSink& sink_;
    const Conversion& c_;
    Report& report_;
    Array<char> buffer_;
    Piece pieces_[kBatchPieces];
    Digest digests_[kBatchPieces];
    int64_t count_ = 0;
    int64_t filled_ = 0;
};

} // namespace

moeq_status copy_tensors(const UnitSink& sink, int64_t first, int64_t last, Report& report)
{
    return Copier(sink, report).run(first, last);
}

} // namespace moeq::store
