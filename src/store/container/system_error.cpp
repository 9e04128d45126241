#include "store/container/system_error.h"

#include <cerrno>

namespace moeq::store {

namespace {

struct NamedError {
    int code;
    const char* text;
};

constexpr NamedError kErrors[] = {
    {EACCES, "EACCES: no permission"},
    {EPERM, "EPERM: not permitted"},
    {ENOENT, "ENOENT: no such file or directory"},
    {ENOTDIR, "ENOTDIR: not a directory"},
    {EISDIR, "EISDIR: is a directory"},
    {EEXIST, "EEXIST: is there already"},
    {ENOTEMPTY, "ENOTEMPTY: a directory that is not empty"},
    {EIO, "EIO: the device failed"},
    {ENODEV, "ENODEV: no such device"},
    {ENXIO, "ENXIO: no such device"},
    {ENOSPC, "ENOSPC: no space is left"},
    {EDQUOT, "EDQUOT: the quota is used up"},
    {EFBIG, "EFBIG: larger than the limit of files"},
    {EOVERFLOW, "EOVERFLOW: too large"},
    {EROFS, "EROFS: read-only file system"},
    {EXDEV, "EXDEV: on another file system"},
    {EMFILE, "EMFILE: too many open files in the process"},
    {ENFILE, "ENFILE: too many open files"},
    {ENAMETOOLONG, "ENAMETOOLONG: the name is too long"},
    {ELOOP, "ELOOP: too many links"},
    {EMLINK, "EMLINK: too many directories"},
    {ESTALE, "ESTALE: the server has lost the file"},
    {ETIMEDOUT, "ETIMEDOUT: the server does not answer"},
    {ENOMEM, "ENOMEM: the kernel has no memory"},
    {EAGAIN, "EAGAIN: not now"},
    {EBUSY, "EBUSY: in use"},
    {EBADF, "EBADF: a file that somebody closed"},
    {EINVAL, "EINVAL: the file system cannot do this"},
};

} // namespace

const char* system_error_text(int code)
{
    for (const NamedError& known : kErrors)
        if (known.code == code)
            return known.text;
    return "a system call failed";
}

moeq_status end_with_system_error(Failure& failure, int code, Report& report)
{
    failure << ", errno " << code << " (" << system_error_text(code) << ")";
    report.set_os_error(code);
    return failure;
}

} // namespace moeq::store
