// What the process may still do once its files are open: a kernel image is machine code of whoever made the bundle.
// Linux gives this in layers; an old kernel gives fewer, and what it lacks is left out.
#ifndef EMOE_TOOLS_EMOE_RT_SANDBOX_H_
#define EMOE_TOOLS_EMOE_RT_SANDBOX_H_

namespace emoe::rt {

// No new privileges, and by Landlock no files but `path` (the bundle, to read) and what is open. Before the session: the
// threads that it starts inherit this. False: the kernel has no Landlock; privileges are dropped all the same.
bool RestrictFiles(const char *path);

// By seccomp, for all threads: reading, writing, memory that is not executable, waiting and ending; everything else gives
// EPERM. After the session: its threads, its ring and its kernels are there. False: the kernel has no seccomp filters.
bool RestrictCalls();

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_SANDBOX_H_
