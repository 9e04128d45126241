// What lies beside the units of a conversion: index, config.json, and the small files of the source.
#pragma once

#include "store/convert/plan.h"

namespace moeq::store {

struct Conversion;

// What else lies beside a source and is not copied: folders, large files, weights in other containers. first: in `names`.
[[nodiscard]] moeq_status find_left_files(const Checkpoint& source, FolderNames* names, int64_t* count,
                                          const char** first, Report& report);
// config.json of the target.
[[nodiscard]] moeq_status write_target_config(const Plan& plan, const Checkpoint& source, const Weights& weights,
                                              text::JsonWriter& json, Report& report);

// A file beside the units, and its digest.
struct SideFile {
    const char* name;
    Digest digest;
};

// Writes what surrounds the units: index, config.json, and copies of the small files of the source. Names live in `names`.
class SideFiles {
public:
    SideFiles(const Conversion& conversion, Report& report);

    [[nodiscard]] moeq_status write();
    const Array<SideFile>& files() const { return files_; }

private:
    [[nodiscard]] moeq_status write_index();
    [[nodiscard]] moeq_status write_config();
    [[nodiscard]] moeq_status copy_small_files();
    [[nodiscard]] moeq_status add(const char* name, const Array<char>& text, int64_t bytes);

    const Conversion& c_;
    Report& report_;
    FolderNames source_names_;
    Array<SideFile> files_;
};

} // namespace moeq::store
