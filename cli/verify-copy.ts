/** What backup and restore share: their flags, and that a copy is published only after it was verified. */
import type { ArgsDef } from 'citty'
import type { VerifyReport } from '../engine/store/verify/verify.ts'
import { someSettingFlags } from './arguments.ts'
import { EXIT_FAILED, EXIT_SIGNALLED, type Shell } from './shell.ts'
import { verifyDirectory, verifyText } from './verify.ts'

/** One directory by its place, and where the store is. */
export function copyFlags(name: string, description: string): ArgsDef {
  return {
    [name]: { type: 'positional', required: false, description },
    json: { type: 'boolean', description: 'print what was made as JSON' },
    ...someSettingFlags('config', 'data'),
  }
}

/** The one directory that was named; null: none or several, and `usage` was said. */
export function onlyName(words: readonly string[], shell: Shell, usage: string): string | null {
  const [name] = words
  if (name !== undefined && words.length === 1) return name
  shell.err(`millrace ${usage}\n`)
  return null
}

export interface Verified {
  report: VerifyReport | null
}

export async function verifyCopy(dir: string, shell: Shell, verified: Verified): Promise<boolean> {
  const report = await verifyDirectory(dir, shell)
  verified.report = report
  return report.findingCount === 0 && !report.isPartial
}

/** Says why there is no copy. */
export async function endOf({ report }: Verified, shell: Shell, what: string): Promise<number> {
  if (report?.isPartial === true) {
    shell.err(`millrace: broken off; ${what}\n`)
    return EXIT_SIGNALLED[await shell.stopped]
  }
  if (report !== null) shell.err(verifyText(report, 0))
  shell.err(`millrace: the copy is not whole; ${what}. millrace verify tells whether the original is.\n`)
  return EXIT_FAILED
}
