/** A copy is published only after it was verified: what backup and restore share of that. */
import type { VerifyReport } from '../engine/store/verify/verify.ts'
import { EXIT_FAILED, EXIT_SIGNALLED, type Shell } from './shell.ts'
import { verifyDirectory, verifyText } from './verify.ts'

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
