// What a conversion will do, known from headers and options alone: units, what each one writes, and what stays as it is. The
// same input gives the same plan wherever source and target lie.
#pragma once

#include "store/container/digest.h"
#include "store/container/folder.h"
#include "store/convert/rules.h"
#include "store/dialects/foreign.h"

namespace moeq::store {

constexpr int64_t kPlanVersion = 2;
constexpr int64_t kLibraryVersion = MOEQ_VERSION_MAJOR * 10000 + MOEQ_VERSION_MINOR * 100 + MOEQ_VERSION_PATCH;
constexpr int32_t kUnitDigits = 5;         // of numbers of units in names of files; more where that is not enough
constexpr int64_t kGroupBytes = 256 << 20; // of tensors that share a unit; a larger one is alone
constexpr int64_t kCopyBytes = 32 << 20;   // buffers of a unit that copies
constexpr int64_t kUnitBytes = 1 << 20;    // of any unit: its file's header, digests, its record
constexpr int64_t kNameBytes = 3 << 10;    // of each weight that it writes: the entries of its tensors, and their names

// What was asked for, checked.
struct ConvertRequest {
    const Dialect* dialect = nullptr;
    bool has_spec = false;
    moeq_spec spec{};
    int32_t dense_dtype = 0; // without spec: what is quantized becomes dense, of this type; 0: it stays
    const char* rules = nullptr;
    const char* patterns = nullptr;
    bool keep_foreign =
        false; // codes that moeq does not read are copied, though the target no longer says what they are
    bool weights_only =
        false; // config.json asks for no quantized activations, where the dialect says something of them
};

// Where the 2-D weights of a stack come from: parts of each expert, in the order in which files have them.
struct ExpertParts {
    int32_t count = 1; // 2: gate and up
    bool interleaved = false;
    bool swapped = false;    // up is first in the stack
    bool transposed = false; // the stack is [in, out]
};

enum class ItemKind : int32_t { kCopy, kKeep, kEncode, kDecode };

// How the output weights of a stack are got.
enum class ItemForm : int32_t {
    kWhole,  // one weight, encoded as it lies
    kParts,  // the stack is encoded as it lies, and cut into 2-D weights
    kEach,   // each 2-D weight by itself: blocks would cross its borders
    kPieces, // each 2-D weight by itself, from rows of a fused stack
};

// What tensors a stack is decoded to.
enum class Split : int32_t {
    kPieces,  // one for each piece
    kLinears, // of the one piece: one for each expert and projection
    kParts,   // of the one piece: one for each projection, with all experts
};

// What becomes of one tensor or of one stack.
struct PlanItem {
    ItemKind kind = ItemKind::kCopy;
    ItemForm form = ItemForm::kWhole;
    int64_t source = 0; // the tensor, or the stack
    int64_t bytes_in = 0;
    // Of stacks:
    Geometry work{};   // codes of the whole stack, as they are in memory
    Geometry out{};    // of each output weight; kDecode: as the file has it
    int32_t dtype = 0; // kDecode: of the elements that are written
    ExpertParts parts{};
    Split split = Split::kPieces;
    bool requantized = false;
    int32_t scale_kind = MOEQ_SCALE_DEFAULT; // kKeep: what the statistics become; DEFAULT: they stay
    int64_t first_lone = -1;                 // kEach: the stacks that stand for the output weights, one after the other
    int64_t first_name = 0;                  // the output weights, in Plan::names
    int64_t name_count = 0;
    int64_t out_bytes = 0; // of one output weight in the file

    // Whether its weights are quantized in the target.
    bool is_quantized() const { return kind == ItemKind::kKeep || kind == ItemKind::kEncode; }
};

struct PlanUnit {
    int64_t first_item = 0;
    int64_t item_count = 0;
    int64_t bytes_in = 0;
    int64_t bytes_out = 0; // of all tensors
    int64_t peak = 0;      // bytes of memory that it takes at most, besides what the checkpoint's headers take
};

// Why a tensor or a stack is not quantized; or why a tensor is left out.
struct PlanKept {
    const char* name;
    const char* reason;
    const char* detail; // the spec that it has, or the rule; NULL: none
};

class Plan {
public:
    explicit Plan(Allocator& allocator);
    ~Plan();
    Plan(const Plan&) = delete;
    Plan& operator=(const Plan&) = delete;

    // Weights grow: lone weights that are to be quantized become stacks.
    [[nodiscard]] moeq_status make(const Checkpoint& checkpoint, Weights& weights, const ConvertRequest& request,
                                   Report& report);
    // The plan as JSON, for people and for who places units. finished: units.
    [[nodiscard]] moeq_status print(const Checkpoint& checkpoint, const Weights& weights,
                                    const Array<int64_t>& finished, Array<char>* out, Report& report) const;

    // quantization_config of the target's config.json, as one value. UNSUPPORTED where it cannot name all weights, which make
    // finds.
    [[nodiscard]] moeq_status write_config(const Checkpoint& checkpoint, const Weights& weights, text::JsonWriter& json,
                                           Report& report) const;
    // What somebody should know before it is carried out: an array of texts.
    void write_notes(text::JsonWriter& json) const;

    const char* file_name(int64_t unit, char* out) const; // kFileNameLimit bytes
    static constexpr int64_t kFileNameLimit = 64;
    // The tensors of one output weight of an item.
    [[nodiscard]] moeq_status list_entries(const PlanItem& item, const char* weight, DialectEntries* out,
                                           Report& report) const;
    const char* name(int64_t i) const { return names_text.data() + names[i]; }
    // The dialect of the target's files.
    const Dialect& file_dialect() const { return is_dense ? kDenseDialect : *dialect; }

    const Dialect* dialect = nullptr;
    const char* patterns = nullptr; // of the call
    ConvertRules rules;
    Array<PlanUnit> units; // in file order of their first tensor
    Array<PlanItem> items;
    Array<PlanKept> kept;
    Array<PlanKept> dropped;  // what belonged to codes that are gone
    Array<const char*> dense; // names of 2-D float tensors, and of weights of experts, that stay
    Array<int64_t> names;     // offsets into names_text
    Array<char> names_text;
    Array<char> identity; // JSON: all that the plan depends on, but for the hash itself
    Digest hash;
    char hash_text[kDigestText] = {};
    bool has_new_weights = false; // else what quantization_config says stays true
    bool weights_only = false;
    ForeignCodes foreign;
    Array<const char*> notes; // for who has it carried out
    bool is_dense = false;    // weights were made dense, and none is left that is quantized
    int64_t other_dtypes = 0; // tensors of another float type than what is made dense

private:
    friend class Planner;
    friend class ResultCheck;
    [[nodiscard]] moeq_status identify(const Checkpoint& checkpoint, const ConvertRequest& request, Report& report);
    [[nodiscard]] moeq_status find_whether_dense(const Weights& weights, Report& report);
    [[nodiscard]] moeq_status list_weights(const Weights& weights, Array<WrittenWeight>* out, Report& report) const;
    [[nodiscard]] moeq_status check_foreign(const Checkpoint& checkpoint, const Weights& weights,
                                            const ConvertRequest& request, Report& report);
    [[nodiscard]] moeq_status collect_notes(const Checkpoint& checkpoint, const Weights& weights,
                                            const ConvertRequest& request, Report& report);
    // What no loader of the dialect's project could read.
    [[nodiscard]] moeq_status check_loadable(const Weights& weights, Report& report);
    [[nodiscard]] moeq_status note(const char* text, Report& report);
    [[nodiscard]] moeq_status note_of(int64_t count, const char* what, const char* first, const char* text,
                                      Report& report);
    [[nodiscard]] moeq_status note_dense(const Checkpoint& checkpoint, Report& report);
    [[nodiscard]] moeq_status note_loaders(const Weights& weights, Report& report);
    [[nodiscard]] moeq_status note_kinds(const Weights& weights, Report& report);
    [[nodiscard]] moeq_status keep_text(const char* text, const char** out, Report& report);
    bool describes_foreign(const Weights& weights) const;

    Allocator& allocator_;
    Array<char*> texts_; // of reasons and notes
};

// The spec of a quantized stack as its file has it: nested where its pieces are.
moeq_spec own_spec(const Weights& weights, const Stack& stack);

// Whether a small file beside a checkpoint tells how that is quantized, and so would be untrue beside new weights.
bool is_about_source(const char* name);

// An array of {"name", "reason"} and, where there is one, "detail".
void write_kept(const Array<PlanKept>& kept, text::JsonWriter& json);
// What the weights of an item are in the target: a spec, or "bf16" and its like. MOEQ_SPEC_TEXT bytes.
[[nodiscard]] moeq_status print_item_spec(const PlanItem& item, char* out, Report& report);

// INCOMPLETE names an expert that a stack lacks.
[[nodiscard]] moeq_status check_experts(const Stack& stack, Report& report);
// The name of an output weight.
[[nodiscard]] moeq_status append_name(const char* name, Array<int64_t>* names, Array<char>* names_text, Report& report);
// ... and that of a linear which a stack is cut into.
[[nodiscard]] moeq_status append_linear(const Weights& weights, const Stack& stack, int64_t expert, Part part,
                                        Array<int64_t>* names, Array<char>* names_text, Report& report);

// What an item of a stack becomes: forms, geometries, names. spec: what was asked for; NULL: the stack keeps its own.
// UNSUPPORTED where the dialect cannot hold that.
[[nodiscard]] moeq_status shape_item(Allocator& allocator, const Weights& weights, const Dialect& dialect,
                                     const moeq_spec* spec, PlanItem* item, Array<int64_t>* names,
                                     Array<char>* names_text, Report& report);
// Why a tensor that nobody asked to quantize is not.
const char* reason_of(const Checkpoint& checkpoint, const Weights& weights, int64_t tensor);
// Whether experts of a stack get 2-D weights of their own, whatever the source has.
bool becomes_linears(const Dialect& dialect, const Weights& weights, const Stack& stack);
// Bytes of memory that a stack takes at most while it is read, encoded and written: buffers, codes and statistics.
int64_t item_peak(const Weights& weights, const PlanItem& item);
// How many experts of a stack are in memory together, where it is done as kWhole or kParts: a few, if each can be written
// without the others.
int64_t experts_at_once(const PlanItem& item, const Stack& stack);
// Whether a quantized stack is what a spec asks for, as far as that says anything. Statistics may be of the other kind: see
// kept_scale_kind.
bool holds_already(const Weights& weights, const Stack& stack, const Dialect& dialect, const moeq_spec& spec);
// The kind that a stack's statistics get where its codes stay. asked: the spec of the caller's; NULL: none.
int32_t kept_scale_kind(const Stack& stack, const Dialect& dialect, const moeq_spec* asked);

} // namespace moeq::store
