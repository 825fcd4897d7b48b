/** Where the build lies: this file runs from it, and from the source inside vitest. */
import { join } from 'node:path'

export const ROOT = join(import.meta.dirname, import.meta.filename.endsWith('.ts') ? '../..' : '../../..')
export const DIST = join(ROOT, 'dist')
