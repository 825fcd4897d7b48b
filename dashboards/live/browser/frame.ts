/** One redraw a frame for everything: tasks asked for in between run together, each once. Nothing runs while hidden. */
const tasks = new Set<() => void>()

export function soon(task: () => void): void {
  if (tasks.size === 0) requestAnimationFrame(run)
  tasks.add(task)
}

function run(): void {
  const due = [...tasks]
  tasks.clear()
  for (const task of due) task()
}
