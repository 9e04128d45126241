// Weights that are quantized in the source and dense in the target: what the plan knows of them, and how they are cut.
#pragma once

#include "store/convert/plan.h"
#include "store/load/stack_source.h"

namespace moeq::store {

constexpr const char kDenseAlready[] = "dense already, its type stays";
constexpr const char kBesideDense[] = "went with the codes of a weight that is dense now";
constexpr const char kBesideAnew[] = "went with codes that the target describes otherwise, or that are made anew";
constexpr const char kOfTheCache[] = "a scale of the cache, which config.json had told of";

// An item's kind, names and sizes: each quantized piece of its stack under its own name, in its own shape, of item->dtype; a
// weight of moeq's own as other files have it. What is dense already among the pieces is none of its weights. INCOMPLETE as
// shape_item; UNSUPPORTED where it is not known how other files have it.
[[nodiscard]] moeq_status shape_decoded(const Weights& weights, PlanItem* item, Array<int64_t>* names,
                                        Array<char>* names_text, Report& report);
// Bytes of memory that it takes at most: buffers, and what reading needs.
int64_t decoded_peak(const Weights& weights, const PlanItem& item);

// The tensor of codes that a tensor says something about besides their scales: of activations, mostly; -1: it is none.
int64_t find_codes_beside(const Checkpoint& checkpoint, int64_t tensor);
// Whether a tensor is a scale of the KV cache, or of what attention computes.
bool is_cache_scale(const Checkpoint& checkpoint, int64_t tensor);

// Of a row as fp32.
inline int64_t wide_row_bytes(const PlanItem& item) { return item.out.columns * static_cast<int64_t>(sizeof(float)); }

// ---- how an item is cut: rows of one expert of one weight, in the order of the weights; some at a time lie in a batch

constexpr int64_t kDecodeBytes = 1 << 20;       // of elements that a task decodes, unless a row has more
constexpr int64_t kDecodeBatchBytes = 16 << 20; // that are decoded, and then written while the next are decoded
constexpr int64_t kDecodeBatchChunks = 256;

struct DecodeChunk {
    int64_t name;  // of the item's
    int64_t piece; // of the stack
    int64_t expert, row_begin, row_end;
    int64_t begin, bytes; // in the weight's tensor
    int64_t offset;       // in the batch
};

class DecodeCutter {
public:
    DecodeCutter(const Weights& weights, const PlanItem& item);

    bool is_done();
    // The chunks that come next, as many as a batch has; there is room for them.
    void fill(Array<DecodeChunk>* batch);
    // Of the elements of all chunks, and of the largest batch.
    int64_t bytes() const { return bytes_; }
    int64_t batch_bytes() const { return minimum(bytes_, maximum(kDecodeBatchBytes, rows_ * row_bytes_)); }
    // No more chunks than these are in a batch.
    int64_t batch_chunks() const
    {
        return minimum(kDecodeBatchChunks, pieces_ * experts_ * parts_ * ceil_divide(height_ / parts_, rows_));
    }

private:
    DecodeChunk next() const;

    const Weights& weights_;
    const Stack& stack_;
    const Split split_;
    const int64_t parts_;      // that rows of an expert go to, as many each
    int64_t experts_, height_; // of each piece
    int64_t row_bytes_;
    int64_t rows_;   // of a chunk
    int64_t pieces_; // that are quantized
    int64_t bytes_;
    // The next one begins here.
    int64_t name_ = 0, piece_ = 0, expert_ = 0, row_ = 0;
};

} // namespace moeq::store
