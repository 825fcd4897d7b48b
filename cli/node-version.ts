/**
 * The oldest node that runs this package, and how to tell. Written so that every node from 12 on can read it: main.ts says it
 * before anything else is loaded. A test holds it to `engines` in package.json.
 */
export const NODE_WANTED = '20.19'

export function nodeIsOld(version: string): boolean {
  const have = version.split('.')
  const want = NODE_WANTED.split('.')
  const major = Number(have[0]) - Number(want[0])
  return major < 0 || (major === 0 && Number(have[1]) < Number(want[1]))
}
