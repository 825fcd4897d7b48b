// Starts bench/lib/ring-worker.ts from source on a thread: node 20 does not read TypeScript by itself.
import { createJiti } from 'jiti'

await createJiti(import.meta.url).import('../../bench/lib/ring-worker.ts')
