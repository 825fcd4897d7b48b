/** Flags, environment and configuration file to a frozen configuration, or ONE error with all faults of all three. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type NodeConfig, resolveConfig } from '../engine/config/config.ts'
import { MillraceError } from '../engine/contract/errors.ts'
import { loadDefault, MODULE_EXTENSIONS } from '../workers/load-module.ts'
import { givenSettings } from './arguments.ts'
import type { Shell } from './shell.ts'

const BASENAME = 'millrace.config'
const CONFIG_EXPORT = 'defineConfig({ … })'

/** `args`: as citty read them. `--config` names the file; without, the first that is there in the directory counts. */
export async function loadConfig(
  args: Readonly<Record<string, unknown>>,
  shell: Pick<Shell, 'cwd' | 'env'>,
): Promise<NodeConfig> {
  const { cwd, env } = shell
  const flags = givenSettings(args)
  const named = typeof args.config === 'string' ? args.config : undefined
  const fileName =
    named ??
    MODULE_EXTENSIONS.map((extension) => BASENAME + extension).find((name) => existsSync(join(cwd, name)))
  if (fileName === undefined) return resolveConfig({ flags, env })
  const { value, fault } = await loadDefault(fileName, cwd, CONFIG_EXPORT)
  if (fault !== null) {
    throw MillraceError.ofFaults('CONFIG_INVALID', 'the configuration is not valid', [fault])
  }
  return resolveConfig({ flags, env, file: value, fileName })
}
