#include "store/convert/target.h"

#include <fcntl.h>

#include <cstring>

#include "core/text.h"
#include "store/container/atomic_file.h"
#include "store/container/folder.h"
#include "store/convert/own_json.h"
#include "store/convert/record.h"

namespace moeq::store {

namespace {

constexpr int32_t kTargetArgument = 3; // of moeq_convert
constexpr char kPartial[] = ".partial";

// What a plan depends on, in the order in which differences are told.
struct Ingredient {
    const char* key;
    const char* name;
};
constexpr Ingredient kIngredients[] = {
    {"plan_version", "version of moeq"},
    {"library", "version of moeq"},
    {"dialect", "dialect"},
    {"spec", "spec"},
    {"rules", "rules"},
    {"patterns", "patterns"},
    {"keep_foreign", "leave to keep foreign codes"},
    {"weights_only", "choice of weights only"},
    {"config", kConfigFile},
    {"files", "source files"},
};

// Whether two values are written alike; false too when there is no memory to see it.
bool same_value(Allocator& allocator, const text::JsonValue& a, const text::JsonValue& b)
{
    Array<char> texts[2] = {Array<char>(allocator), Array<char>(allocator)};
    if (a.missing() || b.missing() || !text::JsonWriter(texts[0]).copy(a).ok() ||
        !text::JsonWriter(texts[1]).copy(b).ok())
        return false;
    return texts[0].size() == texts[1].size() &&
           std::memcmp(texts[0].data(), texts[1].data(), static_cast<uint64_t>(texts[0].size())) == 0;
}

} // namespace

moeq_status ConvertTarget::set_paths(const char* path, Report& report)
{
    int64_t length = static_cast<int64_t>(std::strlen(path));
    while (length > 1 && path[length - 1] == '/')
        --length;
    int64_t begin = length;
    while (begin > 0 && path[begin - 1] != '/')
        --begin;
    const bool dots = (length - begin == 1 && path[begin] == '.') ||
                      (length - begin == 2 && path[begin] == '.' && path[begin + 1] == '.');
    if (begin == length || dots)
        return (report.fail(MOEQ_ERROR_ARGUMENT, kTargetArgument, "target") << "got ").quoted(path)
               << "; want a path that ends with the name of a new directory";
    if (!path_.reserve(length + 1) || !partial_.reserve(length + static_cast<int64_t>(sizeof kPartial)))
        return report.out_of_memory(static_cast<uint64_t>(length));
    path_.append_reserved(path, length);
    path_.append_reserved("", 1);
    partial_.append_reserved(path, length);
    partial_.append_reserved(kPartial, sizeof kPartial);
    return MOEQ_OK;
}

moeq_status ConvertTarget::open(const char* path, const Plan& plan, bool durable, Report& report)
{
    MOEQ_TRY(set_paths(path, report));
    MOEQ_TRY(check_free(report));
    was_free_ = true;
    MOEQ_TRY(make_folder(AT_FDCWD, partial_.data(), report));
    moeq_error error{};
    Report inner(report.function(), &error);
    const bool opened = folder_.open(AT_FDCWD, partial_.data(), inner) == MOEQ_OK;
    const moeq_status status = check_free(report); // another process may have finished since
    if (!opened)
        return status == MOEQ_OK ? report.take_over(error) : status;
    if (status == MOEQ_ERROR_DUPLICATE)
        remove_empty_folder(AT_FDCWD, partial_.data());
    MOEQ_TRY(status);
    bool found = false;
    MOEQ_TRY(find_plan(plan, &found, report));
    if (!found)
        MOEQ_TRY(check_strangers(plan, &found, report));
    return found ? MOEQ_OK : claim(plan, durable, report);
}

moeq_status ConvertTarget::list_finished(const char* path, const Plan& plan, const Checkpoint& checkpoint,
                                         Array<int64_t>* out, Report& report)
{
    MOEQ_TRY(set_paths(path, report));
    bool found = false;
    MOEQ_TRY(look_for(AT_FDCWD, partial_.data(), &found, report));
    if (!found)
        return MOEQ_OK;
    MOEQ_TRY(folder_.open(AT_FDCWD, partial_.data(), report));
    UnitRecord record(allocator_);
    if (!out->reserve(plan.units.size()))
        return report.out_of_memory(sizeof(int64_t) * static_cast<uint64_t>(plan.units.size()));
    for (int64_t unit = 0; unit < plan.units.size(); ++unit) {
        MOEQ_TRY(read_record(allocator_, folder(), plan, checkpoint, unit, &record, &found, report));
        if (found)
            out->append_reserved(&unit, 1);
    }
    return MOEQ_OK;
}

moeq_status ConvertTarget::check_free(Report& report) const
{
    bool found = false;
    MOEQ_TRY(look_for(AT_FDCWD, path_.data(), &found, report));
    if (!found)
        return MOEQ_OK;
    return (report.fail(MOEQ_ERROR_DUPLICATE, kTargetArgument, "target") << "got ").quoted(path_.data())
           << ", which is there; want the name of a new directory; remove it or choose another one";
}

// A directory without a plan: an empty one may be used; one with this plan's report, and so nearly published, is this one's own;
// all else is somebody's.
moeq_status ConvertTarget::check_strangers(const Plan& plan, bool* own, Report& report)
{
    FolderNames names(allocator_);
    MOEQ_TRY(names.read(folder(), report));
    bool strangers = false;
    for (int64_t i = 0; i < names.size(); ++i) {
        *own = std::strcmp(names[i], kPlanFile) == 0;
        if (*own) // by another process, since it was looked for
            return check_open(plan, report);
        strangers = strangers || std::strstr(names[i], kTemporaryMark) == nullptr;
    }
    if (!strangers)
        return MOEQ_OK;
    OwnJson reported(allocator_);
    MOEQ_TRY(reported.read(folder(), kReportFile, report));
    *own = reported.is_of(plan);
    if (*own)
        return MOEQ_OK;
    return (report.fail(reported.found() ? MOEQ_ERROR_MISMATCH : MOEQ_ERROR_DUPLICATE, kTargetArgument, "target")
            << "got ")
               .quoted(partial_.data())
           << (reported.found() ? " of a conversion that was made otherwise; "
                                : ", which is no conversion in the making; ")
           << "want an empty directory, or none; remove it or choose another target";
}

moeq_status ConvertTarget::find_plan(const Plan& plan, bool* found, Report& report) const
{
    OwnJson there(allocator_);
    MOEQ_TRY(there.read(folder(), kPlanFile, report));
    *found = there.found();
    return !*found || there.is_of(plan) ? MOEQ_OK : refuse_plan(there.root(), plan, report);
}

moeq_status ConvertTarget::check_open(const Plan& plan, Report& report) const
{
    bool found = false;
    MOEQ_TRY(find_plan(plan, &found, report));
    return found ? MOEQ_OK : refuse_ended(report);
}

moeq_status ConvertTarget::check_same(Report& report) const
{
    bool same = false;
    MOEQ_TRY(is_same_folder(folder(), AT_FDCWD, partial_.data(), &same, report));
    return same ? MOEQ_OK : refuse_ended(report);
}

moeq_status ConvertTarget::refuse_ended(Report& report) const
{
    return (report.fail(MOEQ_ERROR_STATE, kTargetArgument, "target") << "got ").quoted(partial_.data())
           << ", which another process finished or removed meanwhile; want one that is left alone";
}

moeq_status ConvertTarget::reopen(const Plan& plan, bool durable, Report& report)
{
    MOEQ_TRY(check_same(report));
    MOEQ_TRY(remove_file(folder(), kReportFile, report));
    return claim(plan, durable, report);
}

moeq_status ConvertTarget::is_published(const Plan& plan, bool* out, Report& report) const
{
    *out = false;
    Directory directory;
    moeq_error error{};
    Report inner(report.function(), &error);
    if (renamed_ || path_.empty() || directory.open(AT_FDCWD, path_.data(), inner) != MOEQ_OK)
        return MOEQ_OK;
    OwnJson published(allocator_);
    MOEQ_TRY(published.read(directory.descriptor(), kReportFile, report));
    *out = published.is_of(plan);
    return MOEQ_OK;
}

// Writes the plan; of processes that begin at the same time one does, and the others compare.
moeq_status ConvertTarget::claim(const Plan& plan, bool durable, Report& report)
{
    Array<char> out(allocator_);
    text::JsonWriter json(out);
    json.begin_object();
    json.key("plan").string(plan.hash_text);
    json.key("identity").raw(plan.identity.data(), plan.identity.size());
    json.end_object();
    if (!json.ok())
        return report.out_of_memory(static_cast<uint64_t>(out.size()));
    char own[128];
    Text(own, sizeof own).add(".").add(kPlanFile).add(kTemporaryMark).add(plan.hash_text);
    MOEQ_TRY(write_file(allocator_, folder(), own, out.data(), out.size(), durable, report));
    moeq_error error{};
    Report inner(report.function(), &error);
    if (rename_new(folder(), own, kPlanFile, inner) == MOEQ_OK)
        return check_open(plan, report); // not every file system keeps its promise
    bool there = false;
    MOEQ_TRY(look_for(folder(), kPlanFile, &there, report));
    if (!there)
        return report.take_over(error);
    MOEQ_TRY(remove_file(folder(), own, report));
    return check_open(plan, report);
}

moeq_status ConvertTarget::refuse_plan(const text::JsonValue& other, const Plan& plan, Report& report) const
{
    Array<char> text(allocator_);
    text::JsonDocument document(allocator_);
    if (!text.reserve(plan.identity.size() + 1))
        return report.out_of_memory(static_cast<uint64_t>(plan.identity.size()));
    text.append_reserved(plan.identity.data(), plan.identity.size());
    MOEQ_TRY(document.parse(text.data(), text.size(), {.what = "the plan"}, report));
    const char* name = "input";
    for (const Ingredient& ingredient : kIngredients)
        if (!same_value(allocator_, other.find("identity").find(ingredient.key),
                        document.root().find(ingredient.key))) {
            name = ingredient.name;
            break;
        }
    return (report.fail(MOEQ_ERROR_MISMATCH, kTargetArgument, "target") << "got ").quoted(partial_.data())
           << " of a conversion that differs in its " << name
           << "; want the same, to go on with it; remove it to start anew";
}

moeq_status ConvertTarget::publish(bool durable, Report& report)
{
    if (durable)
        MOEQ_TRY(sync_folder(folder(), partial_.data(), report));
    MOEQ_TRY(check_same(report)); // or another conversion would get the name
    MOEQ_TRY(rename_new(AT_FDCWD, partial_.data(), path_.data(), report));
    bool same = false;
    MOEQ_TRY(is_same_folder(folder(), AT_FDCWD, path_.data(), &same, report));
    if (!same) { // it changed in between
        MOEQ_TRY(rename_new(AT_FDCWD, path_.data(), partial_.data(), report));
        return refuse_ended(report);
    }
    renamed_ = true;
    if (!durable)
        return MOEQ_OK;
    int64_t begin = path_.size() - 1;
    while (begin > 0 && path_[begin - 1] != '/')
        --begin;
    Array<char> parent(allocator_);
    if (!parent.reserve(begin + 2))
        return report.out_of_memory(static_cast<uint64_t>(begin) + 2);
    parent.append_reserved(begin == 0 ? "." : path_.data(), begin == 0 ? 1 : begin);
    parent.append_reserved("", 1);
    Directory directory;
    MOEQ_TRY(directory.open(AT_FDCWD, parent.data(), report));
    return sync_folder(directory.descriptor(), parent.data(), report);
}

} // namespace moeq::store
