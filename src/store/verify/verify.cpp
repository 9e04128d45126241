#include "store/verify/verify.h"

#include "codec/amax.h"
#include "store/dialects/dialect.h"
#include "store/load/buffers.h"
#include "store/load/encoded_part.h"
#include "store/write/file_digest.h"

namespace moeq::store {

namespace {

constexpr int64_t kPieceBytes = 1 << 20;      // that one task reads
constexpr int64_t kReportLimit = 100'000'000; // bytes

// What the numbers of a piece of a tensor are.
struct Census {
    int64_t nan = 0, inf = 0, negative = 0, zero = 0, count = 0;

    void add(const Census& other)
    {
        nan += other.nan;
        inf += other.inf;
        negative += other.negative;
        zero += other.zero;
        count += other.count;
    }
};

void take(float value, Census* census)
{
    const uint32_t magnitude = codec::magnitude_bits_fp32(value);
    census->nan += magnitude > codec::kNonfiniteBits ? 1 : 0;
    census->inf += magnitude == codec::kNonfiniteBits ? 1 : 0;
    census->negative += magnitude < codec::kNonfiniteBits && value < 0.0f ? 1 : 0;
    census->zero += magnitude == 0 ? 1 : 0;
    ++census->count;
}

// How a tensor's bytes are looked at.
enum class Role : int32_t { kBytes, kScales, kDense };

class Verifier {
public:
    Verifier(const Engine& engine, Allocator& allocator, const Checkpoint& checkpoint, const Weights& weights,
             Progress& progress, Report& report)
        : engine_(engine), allocator_(allocator), checkpoint_(checkpoint), weights_(weights), progress_(progress),
          report_(report), problems_(allocator), json_(problems_), buffers_(allocator)
    {
    }

    moeq_status run(Array<char>* out)
    {
        int64_t pieces = 0;
        int64_t largest = 0;
        for (int64_t i = 0; i < checkpoint_.tensor_count(); ++i) {
            const int64_t bytes = checkpoint_.tensor(i).entry.bytes;
            pieces += ceil_divide(bytes, kPieceBytes);
            largest = maximum(largest, minimum(bytes, kPieceBytes));
        }
        MOEQ_TRY(buffers_.open(largest, 0, maximum(pieces, 1), report_));
        json_.begin_array();
        MOEQ_TRY(read_tensors());
        for (int64_t i = 0; i < checkpoint_.tensor_count(); ++i)
            if (lacks_scales(checkpoint_, weights_, i))
                problem("codes_without_scales", checkpoint_.tensor(i).entry.name).end_object();
        if (checkpoint_.unlisted_count() != 0)
            problem("unlisted", checkpoint_.tensor(checkpoint_.first_unlisted()).entry.name)
                .key("count")
                .integer(checkpoint_.unlisted_count())
                .end_object();
        for (int64_t i = 0; i < weights_.stacks.size(); ++i)
            MOEQ_TRY(check_stack(weights_.stacks[i]));
        MOEQ_TRY(check_digests());
        json_.end_array();
        text::JsonWriter result(*out);
        result.begin_object().key("checked").begin_object();
        result.key("files").integer(checkpoint_.file_count());
        result.key("tensors").integer(checkpoint_.tensor_count());
        result.key("bytes").integer(checkpoint_.bytes());
        result.key("stacks").integer(weights_.stacks.size());
        result.key("quantized_stacks").integer(quantized_);
        result.key("scales").integer(scales_);
        result.key("zero_scales").integer(zero_scales_);
        result.key("digests").integer(digests_).end_object();
        result.key("problems").raw(problems_.data(), problems_.size()).end_object();
        return json_.ok() && result.ok() ? MOEQ_OK : report_.out_of_memory(static_cast<uint64_t>(out->size()));
    }

private:
    // {"kind", "name", ...: the caller goes on and ends the object.
    text::JsonWriter& problem(const char* kind, const char* name)
    {
        return json_.begin_object().key("kind").string(kind).key("name").string(name);
    }

    // ---- every byte once

    struct Piece {
        int64_t tensor, begin, count;
        Census census;
    };

    Role role_of(int64_t tensor) const
    {
        const int64_t index = weights_.weight_of[tensor];
        if (index < 0)
            return Role::kBytes;
        const int32_t component = weights_.component_of[tensor];
        const int32_t dtype = checkpoint_.tensor(tensor).entry.dtype;
        if (component == 0)
            return weights_.weights[index].stack >= 0 ? Role::kDense : Role::kBytes;
        const bool statistic = (component == MOEQ_COMPONENT_SCALE && weights_.weights[index].spec.nested == 0) ||
                               component == MOEQ_COMPONENT_NESTED_SCALE || component == MOEQ_COMPONENT_NESTED_OFFSET;
        const bool known = float_type(dtype) >= 0 || dtype == MOEQ_DTYPE_FP8_E8M0;
        return statistic && known ? Role::kScales : Role::kBytes;
    }

    moeq_status read_tensors()
    {
        Array<Piece> pieces(allocator_);
        if (!pieces.reserve(buffers_.count()))
            return report_.out_of_memory(sizeof(Piece) * Buffers::kSlots);
        for (int64_t tensor = 0; tensor < checkpoint_.tensor_count(); ++tensor) {
            const int64_t bytes = checkpoint_.tensor(tensor).entry.bytes;
            for (int64_t begin = 0; begin < bytes; begin += kPieceBytes) {
                const Piece piece{tensor, begin, minimum(kPieceBytes, bytes - begin), {}};
                pieces.append_reserved(&piece, 1);
                if (pieces.size() == buffers_.count())
                    MOEQ_TRY(read_pieces(pieces));
            }
        }
        MOEQ_TRY(read_pieces(pieces));
        report_tensor();
        return MOEQ_OK;
    }

    moeq_status read_pieces(Array<Piece>& pieces)
    {
        MOEQ_TRY(for_each_buffered(engine_.executor, buffers_, pieces.size(), report_,
                                   [&](int64_t i, int64_t slot, Report& report) {
                                       return read_piece(pieces[i], buffers_.elements(slot), report);
                                   }));
        int64_t bytes = 0;
        for (const Piece& piece : pieces) {
            bytes += piece.count;
            if (piece.tensor != open_tensor_) {
                report_tensor();
                open_tensor_ = piece.tensor;
            }
            census_.add(piece.census);
        }
        const char* name = pieces.empty() ? "" : checkpoint_.tensor(pieces[pieces.size() - 1].tensor).entry.name;
        (void)pieces.resize(0);
        return progress_.add(MOEQ_STAGE_VERIFY, name, bytes, report_);
    }

    moeq_status read_piece(Piece& piece, char* buffer, Report& report)
    {
        MOEQ_TRY(checkpoint_.read(piece.tensor, piece.begin, piece.count, buffer, report));
        const Role role = role_of(piece.tensor);
        if (role == Role::kBytes)
            return MOEQ_OK;
        const int32_t dtype = checkpoint_.tensor(piece.tensor).entry.dtype;
        const int64_t count = piece.count / dtype_bytes(dtype);
        // Dense weights are looked at one by one only where there is something to see.
        if (role == Role::kDense && engine_.kernels.amax[float_type(dtype)](buffer, count) < codec::kNonfiniteBits)
            return MOEQ_OK;
        constexpr int64_t kSome = 256;
        float values[kSome];
        for (int64_t at = 0; at < count; at += kSome) {
            const int64_t some = minimum(kSome, count - at);
            widen_statistics(dtype, buffer + at * dtype_bytes(dtype), some, values);
            for (int64_t i = 0; i < some; ++i)
                take(values[i], &piece.census);
        }
        return MOEQ_OK;
    }

    // What the pieces of one tensor told together.
    void report_tensor()
    {
        const Census census = census_;
        census_ = {};
        if (open_tensor_ < 0)
            return;
        const int64_t index = weights_.weight_of[open_tensor_];
        const Role role = role_of(open_tensor_);
        const char* name = checkpoint_.tensor(open_tensor_).entry.name;
        if (role == Role::kDense && census.nan + census.inf != 0)
            problem("nonfinite_weight", name)
                .key("nan")
                .integer(census.nan)
                .key("inf")
                .integer(census.inf)
                .end_object();
        if (role != Role::kScales)
            return;
        scales_ += census.count;
        zero_scales_ += census.zero;
        const moeq_spec& spec = weights_.weights[index].spec;
        const bool signs = find_format(spec.format)->signed_statistics;
        if (census.nan + census.inf + (signs ? 0 : census.negative) == 0)
            return;
        problem("bad_scale", name).key("nan").integer(census.nan).key("inf").integer(census.inf);
        json_.key("negative").integer(census.negative).end_object();
    }

    // ---- stacks

    moeq_status check_stack(const Stack& stack)
    {
        quantized_ += stack.quantized ? 1 : 0;
        if (stack.missing_expert >= 0)
            problem("missing_expert", stack.name).key("expert").integer(stack.missing_expert).end_object();
        if (stack.odd_piece >= 0)
            report_odd(stack);
        if (!stack.quantized) {
            if (stack.expert && has_quantized_experts())
                problem("dense_experts", stack.name).end_object();
            return MOEQ_OK;
        }
        MOEQ_TRY(check_padding(stack));
        return check_halves(stack);
    }

    bool has_quantized_experts()
    {
        for (int64_t i = 0; quantized_experts_ < 0 && i < weights_.stacks.size(); ++i)
            if (weights_.stacks[i].quantized && weights_.stacks[i].expert)
                quantized_experts_ = 1;
        quantized_experts_ = quantized_experts_ < 0 ? 0 : quantized_experts_;
        return quantized_experts_ == 1;
    }

    void report_odd(const Stack& stack)
    {
        const Weight& odd = weights_.piece(stack, stack.odd_piece);
        problem(odd.quantized ? "mixed_formats" : "dense_expert", stack.name).key("expert").integer(odd.expert);
        json_.key("weight").string(odd.name).end_object();
    }

    // The last low nibble of an odd number of 4-bit codes belongs to nobody; the code of 0 is what stands there.
    moeq_status check_padding(const Stack& stack)
    {
        const Format& format = *find_format(stack.spec.format);
        for (int64_t i = 0; format.code_bits == 4 && i < stack.piece_count; ++i) {
            const Weight& weight = weights_.piece(stack, i);
            const int64_t tensor = weight.quantized ? weight.tensors[MOEQ_COMPONENT_CODES] : -1;
            Geometry geometry;
            if (tensor < 0)
                continue;
            MOEQ_TRY(plain_geometry(weight, &geometry, report_));
            if (geometry.run_length % 2 == 0 || geometry.count() == 0 || geometry.run_count != 1)
                continue;
            uint8_t last = 0;
            MOEQ_TRY(checkpoint_.read(tensor, geometry.run_bytes() - 1, 1, &last, report_));
            if (format.code_value(last & 0xF) != 0.0f)
                problem("padding", weight.name).key("code").integer(last & 0xF).end_object();
        }
        return MOEQ_OK;
    }

    // Gate and up of one expert that many runtimes keep as one weight with one scale.
    moeq_status check_halves(const Stack& stack)
    {
        static constexpr const char kGate[] = "gate_proj";
        constexpr int64_t kLeaf = sizeof kGate - 1;
        if (stack.spec.granularity != MOEQ_GRANULARITY_EXPERT || stack.name_length <= kLeaf ||
            !ends_with(stack.name, stack.name_length, kGate))
            return MOEQ_OK;
        Array<char> name(allocator_);
        if (!name.reserve(stack.name_length))
            return report_.out_of_memory(static_cast<uint64_t>(stack.name_length));
        name.append_reserved(stack.name, stack.name_length - kLeaf);
        name.append_reserved("up_proj", 7);
        const int64_t other = weights_.find_stack(name.data(), name.size());
        return other < 0 ? MOEQ_OK : compare_scales(stack, weights_.stacks[other]);
    }

    // Pieces of one stack may be of several kinds.
    static bool has_one_scale(const Weight& weight)
    {
        return weight.ndim == 2 && weight.quantized && weight.spec.nested == 0 &&
               weight.spec.granularity == MOEQ_GRANULARITY_EXPERT;
    }

    moeq_status compare_scales(const Stack& gate, const Stack& up)
    {
        int64_t first = -1;
        int64_t count = 0;
        for (int64_t i = 0, j = 0; i < gate.piece_count && j < up.piece_count;) {
            const Weight& a = weights_.piece(gate, i);
            const Weight& b = weights_.piece(up, j);
            if (a.expert != b.expert || !has_one_scale(a) || !has_one_scale(b)) {
                a.expert <= b.expert ? ++i : ++j;
                continue;
            }
            char scratch[64];
            float left = 0.0f;
            float right = 0.0f;
            MOEQ_TRY(read_statistics(engine_.kernels, checkpoint_, a, {0, 1}, &left, scratch, report_));
            MOEQ_TRY(read_statistics(engine_.kernels, checkpoint_, b, {0, 1}, &right, scratch, report_));
            if (std::memcmp(&left, &right, sizeof left) != 0) {
                first = first < 0 ? a.expert : first;
                ++count;
            }
            ++i;
            ++j;
        }
        if (count != 0) {
            problem("gate_up_scales_differ", gate.name).key("other").string(up.name);
            json_.key("expert").integer(first).key("experts").integer(count).end_object();
        }
        return MOEQ_OK;
    }

    // ---- digests that a conversion left

    moeq_status check_digests()
    {
        if (!checkpoint_.is_directory())
            return MOEQ_OK;
        const int folder = checkpoint_.directory().descriptor();
        File file(allocator_);
        {
            moeq_error error{};
            Report quiet(report_.function(), &error);
            const moeq_status status = file.open(folder, kReportFile, quiet);
            if (status == MOEQ_ERROR_NOT_FOUND)
                return MOEQ_OK;
            if (status != MOEQ_OK)
                return report_.take_over(error);
        }
        Array<char> text(allocator_);
        text::JsonDocument document(allocator_);
        MOEQ_TRY(read_text(file, kReportLimit, &text, report_));
        MOEQ_TRY(document.parse(text.data(), text.size() - 1, {.what = kReportFile}, report_));
        const text::JsonValue files = document.root().find("files");
        for (text::JsonMember m = files.first(); !m.done(); m = m.next())
            MOEQ_TRY(check_digest(folder, m.name(), m.value()));
        return MOEQ_OK;
    }

    moeq_status check_digest(int folder, const text::JsonValue& name, const text::JsonValue& value)
    {
        Digest wanted;
        if (!is_plain_name(name.text(), name.length()) || !read_digest(value, &wanted)) {
            problem("report_entry", name.text()).end_object();
            return MOEQ_OK;
        }
        Digest got;
        moeq_error error{};
        Report quiet(report_.function(), &error);
        const moeq_status status =
            digest_listed_file(allocator_, folder, name.text(), &got, quiet, engine_.kernels.digest);
        if (status == MOEQ_ERROR_MEMORY)
            return report_.take_over(error);
        ++digests_;
        if (status != MOEQ_OK)
            problem("unreadable", name.text()).key("message").string(error.message).end_object();
        else if (got != wanted)
            problem("digest", name.text()).end_object();
        return progress_.add(MOEQ_STAGE_VERIFY, name.text(), 0, report_);
    }

    const Engine& engine_;
    Allocator& allocator_;
    const Checkpoint& checkpoint_;
    const Weights& weights_;
    Progress& progress_;
    Report& report_;
    Array<char> problems_;
    text::JsonWriter json_;
    Buffers buffers_;
    int64_t open_tensor_ = -1;
    Census census_;
    int64_t quantized_ = 0;
    int64_t scales_ = 0;
    int64_t zero_scales_ = 0;
    int64_t digests_ = 0;
    int32_t quantized_experts_ = -1; // -1: not yet looked for
};

} // namespace

moeq_status verify_checkpoint(const Engine& engine, Allocator& allocator, const Checkpoint& checkpoint,
                              const Weights& weights, Progress& progress, Array<char>* out, Report& report)
{
    return Verifier(engine, allocator, checkpoint, weights, progress, report).run(out);
}

} // namespace moeq::store
