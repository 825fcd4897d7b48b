/** `npm run dashboards`. */
import { writeGenerated } from './build.ts'

writeGenerated('.')
