#include "random/trial.h"

#include <cmath>
#include <filesystem>

#include "random/look.h"
#include "random/options.h"
#include "random/source.h"

namespace moeq_random {

namespace {

namespace fs = std::filesystem;

// An error of a quantization of 4 bits is less, one by another element's value is mostly more: by the largest of a stack.
constexpr float kMostError = 0.22f;

class Trial {
public:
    Trial(uint64_t seed, const std::string& folder, const moeq_context* context)
        : dice_(seed), folder_(folder), context_(context)
    {
    }

    TrialResult run()
    {
        const Source source = make_source(dice_);
        std::string path = write_source(source, folder_ + "/source");
        std::vector<Named> names;
        for (const Tensor& tensor : source.tensors)
            names.push_back({tensor.name, tensor.shape});
        const int64_t steps = dice_.chance(60) ? 1 : dice_.between(2, 3);
        for (int64_t step = 0; step < steps && !problem_.found(); ++step) {
            const std::string target = folder_ + "/target" + std::to_string(step);
            const Options options = make_options(dice_, words_of(names), source.patterns);
            result_.done += std::string(step == 0 ? "" : ", then ") + dialect_word(options.dialect) + " \"" +
                            (options.dense != 0 ? "dense" : options.spec) + "\" rules " +
                            (options.rules.empty() ? "none" : options.rules);
            if (!convert(path, target, options))
                break;
            path = target;
            names = names_of_target_;
            if (dice_.chance(40))
                leave_something(target, names);
        }
        result_.problem = problem_.text;
        return result_;
    }

private:
    static std::vector<std::string> words_of(const std::vector<Named>& names)
    {
        std::vector<std::string> out;
        for (const Named& named : names)
            out.push_back(named.name);
        return out;
    }

    void leave_something(const std::string& target, std::vector<Named>& names)
    {
        const std::vector<Tensor> left = make_leftovers(dice_, names);
        if (left.empty())
            return;
        add_shard(target, left);
        fs::remove(target + "/moeq_report.json");
        for (const Tensor& tensor : left)
            names.push_back({tensor.name, tensor.shape});
        result_.done += " (and leftovers)";
    }

    // ---- one conversion; true: it went through

    bool convert(const std::string& path, const std::string& target, const Options& options)
    {
        const char* patterns = options.patterns.empty() ? nullptr : options.patterns.c_str();
        std::string refusal;
        const bool all = (options.flags & MOEQ_CONVERT_ALL_FILES) != 0;
        const Reader source = open(path, patterns, &refusal, all ? MOEQ_READER_ALL_FILES : 0);
        result_.opened = result_.opened || source != nullptr;
        std::string problems;
        if (source != nullptr)
            problems = verify(source.get());
        auto asked = sized<moeq_convert_options>();
        auto spec = sized<moeq_spec>();
        if (!fill(options, &asked, &spec))
            return false;
        const moeq_status planned = plan(path, target, asked, &refusal);
        if (source == nullptr && planned == MOEQ_OK)
            problem_.tell("a source that does not open was planned");
        result_.planned = result_.planned || planned == MOEQ_OK;
        if (planned == MOEQ_OK && dice_.chance(10)) { // in two calls
            asked.steps = MOEQ_CONVERT_UNITS;
            (void)checked("moeq_convert of units", problem_, nullptr, [&](moeq_error* e) {
                return moeq_convert(context_, path.c_str(), target.c_str(), &asked, e);
            });
            asked.steps = 0;
        }
        const moeq_status done = checked("moeq_convert", problem_, &refusal, [&](moeq_error* e) {
            return moeq_convert(context_, path.c_str(), target.c_str(), &asked, e);
        });
        if (done != MOEQ_OK) {
            check_refusal(target, planned, done, refusal);
            return false;
        }
        result_.converted = true;
        check_target(source.get(), target, options, problems);
        return !problem_.found();
    }

    bool fill(const Options& options, moeq_convert_options* asked, moeq_spec* spec)
    {
        asked->dialect = options.dialect;
        asked->flags = options.flags;
        asked->patterns = options.patterns.empty() ? nullptr : options.patterns.c_str();
        asked->rules = options.rules.empty() ? nullptr : options.rules.c_str();
        asked->dense_dtype = options.dense;
        if (options.spec.empty())
            return true;
        asked->spec = spec;
        return succeeds("moeq_spec_parse", problem_,
                        [&](moeq_error* e) { return moeq_spec_parse(options.spec.c_str(), spec, e); });
    }

    Reader open(const std::string& path, const char* patterns, std::string* refusal, int32_t flags)
    {
        auto options = sized<moeq_reader_options>();
        options.patterns = patterns;
        options.flags = flags | (dice_.chance(15) ? MOEQ_READER_MMAP : 0);
        moeq_reader* out = nullptr;
        (void)checked("moeq_reader_open", problem_, refusal,
                      [&](moeq_error* e) { return moeq_reader_open(context_, path.c_str(), &options, &out, e); });
        return Reader(out);
    }

    moeq_status plan(const std::string& path, const std::string& target, const moeq_convert_options& asked,
                     std::string* refusal)
    {
        moeq_blob* out = nullptr;
        const moeq_status status = checked("moeq_convert_plan", problem_, refusal, [&](moeq_error* e) {
            return moeq_convert_plan(context_, path.c_str(), target.c_str(), &asked, &out, e);
        });
        moeq_blob_destroy(out);
        return status;
    }

    std::string verify(const moeq_reader* reader)
    {
        moeq_blob* out = nullptr;
        const bool done = succeeds("moeq_reader_verify", problem_, [&](moeq_error* e) {
            return moeq_reader_verify(reader, nullptr, nullptr, &out, e);
        });
        const std::string text = done ? static_cast<const char*>(moeq_blob_data(out)) : "";
        moeq_blob_destroy(out);
        return text;
    }

    // What the plan refuses is refused with the same status, and leaves nothing; the rest only for its values.
    void check_refusal(const std::string& target, moeq_status planned, moeq_status done, const std::string& message)
    {
        const bool there = fs::exists(target) || (planned != MOEQ_OK && fs::exists(target + ".partial"));
        if (there)
            problem_.tell("a conversion that was refused left files: " + message);
        if (planned != MOEQ_OK ? planned != done : done != MOEQ_ERROR_VALUE)
            problem_.tell("planned with status " + std::to_string(planned) + ", but the conversion ended with " +
                          std::to_string(done) + ": " + message);
        for (const auto& entry : fs::recursive_directory_iterator(folder_))
            if (entry.path().filename().string().find(".moeq-tmp") != std::string::npos)
                problem_.tell("left a temporary file: " + entry.path().string());
    }

    // ---- what came out

    void check_target(const moeq_reader* source, const std::string& target, const Options& options,
                      const std::string& problems_before)
    {
        std::string refusal;
        const Reader reader = open(target, options.patterns.empty() ? nullptr : options.patterns.c_str(), &refusal, 0);
        if (reader == nullptr) {
            problem_.tell("the result does not open: " + refusal);
            return;
        }
        const Look before(source, problem_), after(reader.get(), problem_);
        check_problems(problems_before, verify(reader.get()), before);
        names_of_target_.clear();
        for (const moeq_tensor_info& tensor : after.tensors())
            names_of_target_.push_back({tensor.name, {tensor.shape, tensor.shape + tensor.ndim}});
        // Without config.json codes of two dialects are plain tensors to everybody.
        const bool told = options.dialect == MOEQ_DIALECT_NATIVE || options.dialect == MOEQ_DIALECT_BITSANDBYTES ||
                          fs::exists(target + "/config.json");
        if (told)
            compare_copies(before, after);
        compare_stacks(before, after);
        load_parts(after);
        load_parts(before);
    }

    // Those that the source does not have.
    void check_problems(const std::string& before, const std::string& after, const Look& source)
    {
        bool fused = false; // with another number of experts than config.json says, of which linears tell
        for (const moeq_tensor_info& tensor : source.tensors())
            fused = fused || (tensor.stack >= 0 && tensor.ndim > 2);
        for (const char* kind :
             {"digest", "unreadable", "report_entry", "padding", "bad_scale", "missing_expert", "nonfinite_weight"}) {
            const std::string word = std::string("\"kind\": \"") + kind + "\"";
            if (after.find(word) != std::string::npos && before.find(word) == std::string::npos &&
                !(fused && std::strcmp(kind, "missing_expert") == 0))
                problem_.tell("the result does not verify: " + after);
        }
    }

    void compare_copies(const Look& before, const Look& after)
    {
        std::map<std::string, int64_t> known;
        for (size_t i = 0; i < before.tensors().size(); ++i)
            known[before.tensors()[i].name] = static_cast<int64_t>(i);
        for (size_t i = 0; i < after.tensors().size(); ++i) {
            const auto found = known.find(after.tensors()[i].name);
            if (after.tensors()[i].component != 0 || found == known.end())
                continue;
            if (before.tensors()[static_cast<size_t>(found->second)].component == 0 &&
                before.bytes(found->second) != after.bytes(static_cast<int64_t>(i)))
                problem_.tell("other bytes than the source: " + found->first);
        }
    }

    // The stack of a name, or the half of it.
    static Decoded find_weight(const Look& look, const std::string& name)
    {
        for (size_t i = 0; i < look.stacks().size(); ++i)
            if (name == look.stacks()[i].name)
                return look.decode(static_cast<int64_t>(i));
        const size_t dot = name.rfind('.') + 1;
        const bool gate = name.compare(dot, std::string::npos, "gate_proj") == 0;
        if (!gate && name.compare(dot, std::string::npos, "up_proj") != 0)
            return {};
        const std::string both = name.substr(0, dot) + "gate_up_proj";
        for (size_t i = 0; i < look.stacks().size(); ++i)
            if (both == look.stacks()[i].name)
                return half_of(look.decode(static_cast<int64_t>(i)), gate);
        return {};
    }

    static bool is_other_tensor(const Look& look, const std::string& name)
    {
        for (const moeq_tensor_info& tensor : look.tensors())
            if (name == tensor.name &&
                (tensor.stack < 0 || name != look.stacks()[static_cast<size_t>(tensor.stack)].name))
                return true;
        return false;
    }

    static Decoded half_of(const Decoded& whole, bool gate)
    {
        Decoded out = whole;
        if (whole.values.empty() || whole.outputs % 2 != 0 || whole.info.layout == MOEQ_LAYOUT_PLAIN)
            return {}; // of some that are quantized it is not told where they meet
        out.outputs /= 2;
        out.values.clear();
        const int64_t part = out.outputs * out.inputs;
        for (int64_t e = 0; e < out.experts; ++e) {
            const auto from = whole.values.begin() + (2 * e + (gate ? 0 : 1)) * part;
            out.values.insert(out.values.end(), from, from + part);
        }
        return out;
    }

    void compare_stacks(const Look& before, const Look& after)
    {
        for (size_t i = 0; i < after.stacks().size(); ++i) {
            const std::string name = after.stacks()[i].name;
            if (is_other_tensor(before, name) || is_other_tensor(after, name))
                continue; // named as a stack, and none of it
            const Decoded wanted = find_weight(before, name);
            const bool encoded = after.stacks()[i].quantized != 0; // else rounded once, if at all
            const float bound = wanted.largest * (encoded ? kMostError : 0.01f);
            const Decoded found = after.decode(static_cast<int64_t>(i));
            if (wanted.values.empty() || found.values.empty())
                continue;
            // Of files that cannot say how they lie, a reader that does not know the model sees the same elements.
            std::string lie = difference(wanted.values, found.values, bound);
            if (wanted.experts != found.experts || wanted.outputs != found.outputs || wanted.inputs != found.inputs)
                lie = "another shape";
            const bool alike = std::memcmp(wanted.info.shape, found.info.shape, sizeof found.info.shape) == 0;
            if (!lie.empty() && wanted.info.quantized != 0 && difference(turned(wanted), found.values, bound).empty())
                continue; // statistics that go with the other axis hide which one is the output
            if (!lie.empty() && !(alike && difference(wanted.raw, found.raw, bound).empty()))
                problem_.tell("not the source's weight: " + name + ": " + lie);
        }
    }

    static std::vector<float> turned(const Decoded& weight)
    {
        std::vector<float> out;
        const int64_t rows = weight.info.shape[1], columns = weight.info.shape[2];
        for (int64_t e = 0; e < weight.experts; ++e)
            for (int64_t c = 0; c < columns; ++c)
                for (int64_t r = 0; r < rows; ++r)
                    out.push_back(weight.raw[static_cast<size_t>((e * rows + r) * columns + c)]);
        return out;
    }

    // Empty: none.
    static std::string difference(const std::vector<float>& wanted, const std::vector<float>& found, float bound)
    {
        if (wanted.size() != found.size())
            return "another size";
        for (size_t i = 0; i < wanted.size(); ++i)
            if (std::isfinite(wanted[i]) && std::isfinite(found[i]) && std::fabs(wanted[i] - found[i]) > bound)
                return "element " + std::to_string(i) + " is " + std::to_string(found[i]) + ", not " +
                       std::to_string(wanted[i]);
        return "";
    }

    // Some experts, and a rank's part: of quantized stacks what the whole has there.
    void load_parts(const Look& look)
    {
        const int64_t count = static_cast<int64_t>(look.stacks().size());
        for (int64_t tries = 0; tries < 2 && count > 0; ++tries) {
            const int64_t stack = dice_.below(count);
            const moeq_stack_info& info = look.stacks()[static_cast<size_t>(stack)];
            auto options = sized<moeq_load_options>();
            auto spec = sized<moeq_spec>();
            const std::string text = make_spec(dice_, MOEQ_DIALECT_NATIVE);
            (void)succeeds("moeq_spec_parse", problem_,
                           [&](moeq_error* e) { return moeq_spec_parse(text.c_str(), &spec, e); });
            const bool anew = info.quantized == 0 || dice_.chance(20);
            options.spec = anew ? &spec : nullptr;
            options.expert_begin = dice_.between(0, info.shape[0]);
            options.expert_end = dice_.between(options.expert_begin, info.shape[0]);
            const int64_t first = options.expert_begin;
            const int64_t last = options.expert_end == 0 ? info.shape[0] : options.expert_end;
            std::vector<int64_t> shape;
            const std::vector<float> part = look.load(stack, options, &shape);
            if (!anew && !part.empty() && info.shape[0] > 0)
                compare_part(look, stack, first, last, part);
            options.tp_size = static_cast<int32_t>(dice_.between(2, 4));
            options.tp_rank = static_cast<int32_t>(dice_.below(options.tp_size));
            (void)look.load(stack, options, &shape);
        }
    }

    void compare_part(const Look& look, int64_t stack, int64_t first, int64_t last, const std::vector<float>& part)
    {
        std::vector<int64_t> shape;
        const moeq_stack_info& info = look.stacks()[static_cast<size_t>(stack)];
        const std::vector<float> whole = look.load(stack, sized<moeq_load_options>(), &shape);
        const auto each = static_cast<size_t>(info.shape[1] * info.shape[2]);
        const size_t begin = static_cast<size_t>(first) * each, count = static_cast<size_t>(last - first) * each;
        if (whole.empty())
            return; // an expert that was not asked for is bad
        if (part.size() != count || whole.size() < begin + count ||
            std::memcmp(whole.data() + begin, part.data(), count * sizeof(float)) != 0)
            problem_.tell(std::string("a range of experts differs from the whole: ") + info.name);
    }

    Dice dice_;
    std::string folder_;
    const moeq_context* context_;
    Problem problem_;
    TrialResult result_;
    std::vector<Named> names_of_target_;
};

} // namespace

TrialResult run_trial(uint64_t seed, const std::string& folder, const moeq_context* context)
{
    return Trial(seed, folder, context).run();
}

} // namespace moeq_random
